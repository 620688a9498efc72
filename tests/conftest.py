"""What every test gets: one thread a process, derandomised hypothesis, no settings from outside."""

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, cast

# Before torch is imported: tests share the cores, and sums must not depend on the thread count.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, settings

# No test needs images by torchvision, which one dependency brings along and which transformers
# would load: a build for another torch than the one installed fails when it is imported.
sys.modules.setdefault("torchvision", cast(ModuleType, None))

if TYPE_CHECKING:
    from tests.support.postgres import PostgresServer
    from tests.support.timestamps import Authority

settings.register_profile(
    "project",
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("project")

HOME = pytest.StashKey[Path]()
FOLDERS = ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the tests of a GPU run elsewhere, and chaos last longer than a test should."""
    parser.addoption("--gpu-device", default="cuda:0", help="device of the tests in tests/gpu")
    parser.addoption("--chaos-lives", default=4, type=int, help="two kills in each life")
    parser.addoption("--storm-audits", default=16, type=int, help="half of them are cancelled")
    parser.addoption("--chaos-executor", default="local", help="local or ray")


def pytest_configure(config: pytest.Config) -> None:
    """Forget the caller's settings; keys and caches of the tests go to a folder of their own."""
    for name in [name for name in os.environ if name.startswith("STAGEAUDIT_")]:
        del os.environ[name]
    # Started in the background, a shell has whatever we start ignore Ctrl-C, which tests send.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    home = Path(tempfile.mkdtemp(prefix="stageaudit-tests-"))
    config.stash[HOME] = home
    for name in FOLDERS:
        os.environ[name] = str(home / name.lower())


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove that folder."""
    shutil.rmtree(config.stash[HOME], ignore_errors=True)


def pytest_runtest_setup() -> None:
    """Let torch make its table of ONNX operators once a process, not for each small model again.

    Of a module of torch's own that a test before this one may have imported.
    """
    registration = sys.modules.get("torch.onnx._internal.exporter._registration")
    registry = getattr(registration, "ONNXRegistry", None)
    if registry is not None and not hasattr(registry.from_torchlib, "cache_info"):
        registry.from_torchlib = staticmethod(cache(registry.from_torchlib))


@pytest.fixture(scope="session")
def postgres() -> "Iterator[PostgresServer]":
    """Run one PostgreSQL for the tests of this process that ask for it."""
    from tests.support.postgres import postgres_server

    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> "Authority":
    """Make one time-stamping authority for the tests of this process; they need ``openssl``."""
    from tests.support.timestamps import make_authority

    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(params=["sqlite", "postgresql"])
def records_at(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Say where a test keeps its records: in a new file, and in a clean database of a server."""
    if request.param == "sqlite":
        return tmp_path / "records.sqlite"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.clean()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip by name what this machine cannot run; begin with the files that take long.

    Whole files go to workers, in this order: one that takes minutes and comes last is waited for.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
    gpu = [item for item in items if item.get_closest_marker("gpu")]
    if gpu and str(config.getoption("--gpu-device")).startswith("cuda") and not _has_cuda():
        for item in gpu:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
    for item in items:
        for marker in item.iter_markers("tool"):
            for program in marker.args:
                if shutil.which(program) is None:
                    item.add_marker(pytest.mark.skip(reason=f"needs the program {program}"))


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()
