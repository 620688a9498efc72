"""What the base install must do without numpy and torch, tried with both made unimportable."""

import subprocess
import sys

import pytest

from tests.support import house

HEAVY = (
    "torch", "onnx", "onnxscript", "sqlalchemy", "alembic", "prometheus_client", "matplotlib",
    "jinja2", "markupsafe",
)  # fmt: skip
ARRAYS = ("numpy", "pyarrow", "safetensors", "scipy", "sklearn")

BASE = (
    "auditor.errors", "auditor.checks", "auditor.effects", "auditor.plan", "auditor.attest",
    "auditor.page.facts", "auditor.page.model_card", "auditor.page.bill_of_materials",
    "auditor.report", "auditor.stagelog.digest", "auditor.stagelog.blobs",
    "auditor.stagelog.record", "auditor.stagelog.dataset", "auditor.stagelog.log",
    "auditor.stagelog.validate", "auditor.stagelog.evaluation", "service.client", "service.cli",
)  # fmt: skip
LIGHT = (
    *BASE,
    "auditor.stagelog",
    "auditor.estimators",
    "auditor.audit.planning",
)

# Imports the modules one after the other as a base install would: what is not in it is missing.
IMPORT_WITHOUT = """
import importlib, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in missing:
            raise ModuleNotFoundError(f"{name} is not part of this install", name=name)

missing = set(sys.argv[1].split(","))
sys.meta_path.insert(0, Missing())
for name in sys.argv[2:]:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        sys.exit(f"{name}: {error}")
"""

RUN_WITHOUT = (
    IMPORT_WITHOUT
    + """
from service.cli.main import run
sys.argv = ["stageaudit", *command]
run()
"""
)


def modules_of(parts: tuple[str, ...]) -> list[str]:
    """Return every module of the named packages and modules that exists."""
    names = [
        ".".join(path.with_suffix("").parts).removesuffix(".__init__")
        for path, _ in house.sources("auditor", "service")
    ]
    return [
        name for name in names if any(name == part or name.startswith(f"{part}.") for part in parts)
    ]


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new interpreter from the root of the project."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=house.ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("parts", "missing"), [(BASE, (*HEAVY, *ARRAYS)), (LIGHT, HEAVY)], ids=["base", "log"]
)
def test_light_modules_import_without_heavy_ones(
    parts: tuple[str, ...], missing: tuple[str, ...]
) -> None:
    modules = modules_of(parts)

    result = run_python(IMPORT_WITHOUT, ",".join(missing), *modules)

    assert result.stderr == ""
    assert (
        set(parts) - {part for part in parts for name in modules if name.startswith(part)} == set()
    )


def test_missing_module_is_reported() -> None:
    result = run_python(IMPORT_WITHOUT, "torch", "auditor.model.layout")

    assert "auditor.model.layout: torch" in result.stderr


@pytest.mark.parametrize("command", [["--help"], ["verify", "--help"], ["keys", "--help"]])
def test_command_line_helps_without_heavy_modules(command: list[str]) -> None:
    code = f"command = {command!r}\n{RUN_WITHOUT}"

    result = run_python(code, ",".join((*HEAVY, *ARRAYS)))

    assert (result.returncode, result.stderr) == (0, "")
    assert "Usage" in result.stdout
