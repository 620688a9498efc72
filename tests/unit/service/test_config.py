"""Where settings come from and which one wins."""

from pathlib import Path

import pytest

from auditor.errors import InputError, UnavailableError, UnsupportedError
from service.config import ServiceConfig, load_service_config, resolve_endpoint
from service.ray_config import RayConfig

GIVEN = "sa_given"
IN_FOLDER = "sa_folder"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point every folder that the settings read at an empty one."""
    for variable in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    for variable in ("SERVER", "TOKEN", "DATA_DIR", "PORT"):
        monkeypatch.delenv("STAGEAUDIT_" + variable, raising=False)
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_file_then_environment_then_flags(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(
        home / "s.toml", "port = 1\nmetrics_port = 1\nmax_lanes = 1\n[limits]\nlive_audits = 5\n"
    )
    monkeypatch.setenv("STAGEAUDIT_METRICS_PORT", "2")
    monkeypatch.setenv("STAGEAUDIT_MAX_LANES", "2")
    monkeypatch.setenv("STAGEAUDIT_LIMITS__BLOB_BYTES", "7")

    config = load_service_config(path, flags={"max_lanes": 3, "devices": None})

    assert (config.port, config.metrics_port, config.max_lanes) == (1, 2, 3)
    assert (config.limits.live_audits, config.limits.blob_bytes) == (5, 7)


def test_devices_are_a_list_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAGEAUDIT_DEVICES", "cuda:0, cuda:1")

    assert load_service_config().devices == ("cuda:0", "cuda:1")


def test_building_a_config_reads_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAGEAUDIT_PORT", "1")

    assert ServiceConfig().port != 1


def test_records_are_in_the_data_folder_unless_a_url_says_where(tmp_path: Path) -> None:
    url = "postgresql+psycopg://me:secret@db.example/records"
    alone = ServiceConfig(data_dir=tmp_path)
    shared = load_service_config(flags={"records_url": url, "blobs_dir": tmp_path / "blobs"})

    assert (alone.records_at, alone.blobs_root) == (tmp_path / "records.sqlite", tmp_path)
    assert (shared.records_at, shared.blobs_root) == (url, tmp_path / "blobs")
    assert "secret" not in repr(shared)


@pytest.mark.parametrize("url", ["mysql://me:secret@db/x", "postgresql://me:secret@db/x"])
def test_another_database_is_refused_without_telling_its_password(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAGEAUDIT_RECORDS_URL", url)

    with pytest.raises(InputError, match="postgresql\\+psycopg") as caught:
        load_service_config()

    assert caught.value.where == "records_url"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["port = -1", "prot = 1", "port =", "[limits]\nblob_bytes = 0"])
def test_wrong_file_is_an_input_error(home: Path, text: str) -> None:
    with pytest.raises(InputError):
        load_service_config(write(home / "s.toml", text))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.org"])  # noqa: S104 - refused
def test_only_loopback_is_served(host: str) -> None:
    with pytest.raises(UnsupportedError, match="loopback"):
        ServiceConfig(host=host).require_loopback()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_is_accepted(host: str) -> None:
    ServiceConfig(host=host).require_loopback()


def test_endpoint_prefers_flag_then_environment_then_file_then_folder(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = home / "XDG_DATA_HOME" / "stageaudit"
    write(data / "server.json", '{"address": "127.0.0.1:4", "pid": 1}')
    write(data / "token", IN_FOLDER + "\n")
    assert resolve_endpoint().address == "127.0.0.1:4"
    assert resolve_endpoint().token == IN_FOLDER

    write(home / "XDG_CONFIG_HOME" / "stageaudit" / "client.toml", 'server = "127.0.0.1:3"')
    assert resolve_endpoint().address == "127.0.0.1:3"

    monkeypatch.setenv("STAGEAUDIT_SERVER", "127.0.0.1:2")
    assert resolve_endpoint().address == "127.0.0.1:2"

    given = resolve_endpoint(server="127.0.0.1:1", token=GIVEN)
    assert (given.address, given.token) == ("127.0.0.1:1", GIVEN)


def test_no_service_is_said_with_a_remedy() -> None:
    with pytest.raises(UnavailableError, match="stageaudit serve"):
        resolve_endpoint()


def test_flags_of_ray_leave_the_other_settings_of_ray(home: Path) -> None:
    path = write(home / "s.toml", 'executor = "ray"\n[ray]\nworkers = 3\ncpus_per_worker = 2\n')

    config = load_service_config(path, flags={"ray": {"address": "head:6379", "workers": None}})

    assert config.ray == RayConfig(address="head:6379", workers=3, cpus_per_worker=2)
    assert config.ray.devices == ("cpu",) * 3


@pytest.mark.parametrize(
    "flags",
    [
        {"executor": "ray", "devices": "cpu"},
        {"ray": {"address": "head:6379"}},
        {"executor": "ray", "ray": {"address": "ray://head:10001"}},
        {"executor": "slurm"},
    ],
)
def test_settings_that_contradict_each_other_are_refused(flags: dict[str, object]) -> None:
    with pytest.raises(InputError):
        load_service_config(flags=flags)


@pytest.mark.parametrize(
    ("address", "loopback"),
    [(None, True), ("127.0.0.1:6379", True), ("[::1]:6379", True), ("10.0.0.1:6379", False)],
)
def test_a_cluster_on_loopback_is_known(address: str | None, loopback: bool) -> None:
    assert RayConfig(address=address).on_loopback is loopback
