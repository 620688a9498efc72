"""Settings: TOML file < environment ``STAGEAUDIT_...`` (``__`` nests) < flags.

The only reader of the environment. Building a :class:`ServiceConfig` directly reads nothing, so
tests and the demo say everything they depend on.
"""

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from typing_extensions import override

from auditor.errors import InputError, UnavailableError, UnsupportedError
from service.ray_config import RayConfig, is_loopback
from service.records.base import DEFAULT_TENANT
from service.signing_config import SigningConfig
from service.timestamp_config import TimestampConfig

MEBIBYTE = 2**20
GIBIBYTE = 2**30
SERVER_FILE = "server.json"
TOKEN_FILE = "token"  # noqa: S105 - the name of a file
ENVIRONMENT_PREFIX = "STAGEAUDIT_"
POSTGRESQL_PREFIX = "postgresql+psycopg://"

Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(ge=0)]


def data_folder() -> Path:
    """Return where the service keeps its data unless told otherwise."""
    return _base_folder("XDG_DATA_HOME", fallback=".local/share")


def config_folder() -> Path:
    """Return where a user's client settings and trust file are."""
    return _base_folder("XDG_CONFIG_HOME", fallback=".config")


def cache_folder() -> Path:
    """Return where results of ``--local`` audits are kept."""
    return _base_folder("XDG_CACHE_HOME", fallback=".cache")


def _base_folder(variable: str, *, fallback: str) -> Path:
    base = os.environ.get(variable)
    return (Path(base) if base else Path.home() / fallback) / "stageaudit"


class Limits(BaseModel):
    """Sizes and times beyond which a request is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    message_bytes: Positive = 4 * MEBIBYTE
    metadata_bytes: Positive = 8192
    blob_bytes: Positive = 64 * GIBIBYTE
    uploads_open: Positive = 32
    upload_idle_seconds: Seconds = 24 * 3600
    calls_in_flight: Positive = 1000
    call_seconds: Seconds = 30
    call_seconds_max: Seconds = 600
    stream_seconds_max: Seconds = 3600
    manifest_bytes: Positive = 16 * MEBIBYTE
    parse_address_space_bytes: Positive = 2 * GIBIBYTE
    parse_cpu_seconds: Positive = 20
    parse_wall_seconds: Seconds = 30
    live_audits: Positive = 64
    queue_bytes: Positive = 256 * GIBIBYTE
    queue_seconds: Seconds = 24 * 3600
    audit_seconds: Seconds = 24 * 3600
    audit_seconds_max: Seconds = 7 * 24 * 3600


class ServiceConfig(BaseModel):
    """Everything the service can be told.

    Args:
        data_dir: Holds the database, blobs, uploads, keys, the token and ``server.json``.
        records_url: ``postgresql+psycopg://USER:PASSWORD@HOST/NAME``, a database that several
            services may share; None keeps the records in a SQLite file in the data folder.
        blobs_dir: Folder of the blobs, which services that share a database share too; None
            means the data folder.
        host: A loopback address; anything else is refused.
        port: Port of the gRPC server; 0 takes a free one.
        metrics_port: Port of ``/metrics``, ``/livez``, ``/readyz`` and pages of reports that are
            opened by a signed link; 0 takes a free one.
        executor: Where workers run: on this machine, or on a Ray cluster.
        ray: Which cluster; only where ``executor`` says so.
        devices: One worker process each, such as ``cpu`` or ``cuda:0``; ``auto`` means every
            CUDA device, or ``cpu`` where there is none.
        threads_per_worker: CPU threads of a worker; None shares all but one core.
        max_lanes: Most actions that run together.
        device_memory_bytes: What the groups of a worker may use of its device; None is 0.85 of
            what is free when it starts, on the CPU shared between workers.
        max_batch_delay_seconds: How long groups wait for lanes; None: 0.05, 0.2 on a GPU.
        lease_seconds: How long a worker holds an action without a heartbeat.
        heartbeat_seconds: How often a worker's leases are renewed.
        save_seconds: How long a worker computes between two saves of the trajectories under way,
            from which another one goes on after a crash.
        max_attempts: How often an action is tried.
        drain_seconds: How long a stopping service goes on accepting calls.
        grace_seconds: How long calls and blocks under way may take after that.
        signing: The key that signs, where a key service holds it; None: a file of the data folder.
        timestamp: The authority that stamps each report that is signed; None: none is asked.
        reflection: Whether generic clients may ask for the schema.
        limits: Sizes and times beyond which a request is refused.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data_dir: Path = Field(default_factory=data_folder)
    records_url: SecretStr | None = None
    blobs_dir: Path | None = None
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 7460
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 7461
    executor: Literal["local", "ray"] = "local"
    ray: RayConfig = RayConfig()
    devices: Annotated[tuple[str, ...], Field(min_length=1), NoDecode] = ("auto",)
    threads_per_worker: Positive | None = None
    max_lanes: Positive = 64
    device_memory_bytes: Positive | None = None
    max_batch_delay_seconds: Seconds | None = None
    lease_seconds: Annotated[float, Field(gt=0)] = 30
    heartbeat_seconds: Annotated[float, Field(gt=0)] = 10
    save_seconds: Seconds = 60
    max_attempts: Positive = 3
    drain_seconds: Seconds = 1
    grace_seconds: Seconds = 10
    signing: SigningConfig | None = None
    timestamp: TimestampConfig | None = None
    reflection: bool = False
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _one_executor(self) -> Self:
        """Refuse settings of the executor that does not run."""
        if self.executor == "ray" and self.devices != ("auto",):
            raise ValueError("devices are those of this machine; Ray has ray.gpus_per_worker")
        if self.executor == "local" and self.ray != RayConfig():
            raise ValueError("ray settings need executor = ray")
        return self

    @field_validator("devices", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """Accept ``cuda:0,cuda:1`` from the environment and from flags."""
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @field_validator("records_url")
    @classmethod
    def _is_postgresql(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(POSTGRESQL_PREFIX):
            raise ValueError(f"a URL that starts with {POSTGRESQL_PREFIX}")
        return value

    @property
    def blobs_root(self) -> Path:
        """Return the folder that holds ``sha256/``."""
        return self.blobs_dir or self.data_dir

    @property
    def uploads_dir(self) -> Path:
        """Return where unfinished uploads lie while the blobs are in the data folder."""
        return self.data_dir / "uploads"

    @property
    def records_path(self) -> Path:
        """Return the database file, where no URL says otherwise."""
        return self.data_dir / "records.sqlite"

    @property
    def records_at(self) -> Path | str:
        """Return where the records are: the URL with its password, or the file."""
        return (
            self.records_path if self.records_url is None else self.records_url.get_secret_value()
        )

    @property
    def front_end_path(self) -> Path:
        """Return the file with the name of this service among those that share a database."""
        return self.data_dir / "front_end"

    @property
    def keys_dir(self) -> Path:
        """Return the folder of the signing keys."""
        return self.data_dir / "keys"

    @property
    def link_key_path(self) -> Path:
        """Return the file with the key that links to pages of reports are sealed with."""
        return self.data_dir / "links.key"

    @property
    def token_path(self) -> Path:
        """Return the file that holds the bearer token."""
        return self.data_dir / TOKEN_FILE

    @property
    def server_path(self) -> Path:
        """Return the file that tells clients where the service listens."""
        return self.data_dir / SERVER_FILE

    def require_loopback(self) -> None:
        """Refuse to be reachable from other machines, for which there is no protection yet.

        Raises:
            UnsupportedError: If ``host`` is not a loopback address.
        """
        if not is_loopback(self.host):
            raise UnsupportedError(
                "host",
                expected="a loopback address such as 127.0.0.1",
                found=self.host,
                remedy="This version has neither TLS nor users: listen on loopback and reach it "
                "through an SSH tunnel.",
            )


class _Sources(ServiceConfig, BaseSettings):
    """Settings from the environment over those it is built with, which come from the file."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    @classmethod
    @override
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file."""
        return env_settings, init_settings


def load_service_config(
    path: Path | None = None, *, flags: Mapping[str, Any] | None = None
) -> ServiceConfig:
    """Read the settings of a service.

    Args:
        path: A TOML file, or None.
        flags: Settings from the command line; those that are None were not given.

    Returns:
        The settings, not yet checked against the machine.

    Raises:
        InputError: If the file or a setting is not valid.
    """
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    try:
        merged = _Sources(**_read_toml(path)).model_dump()
        return ServiceConfig.model_validate(_over(merged, given))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InputError(
            ".".join(str(part) for part in first["loc"]) or "settings",
            expected=first["msg"],
            found="one that is not shown" if "records_url" in first["loc"] else first.get("input"),
            remedy=f"Correct the flag, {ENVIRONMENT_PREFIX}... variable or file that sets it.",
        ) from error


def _over(settings: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with those that are given in their place, in parts of them too."""
    merged = dict(settings)
    for name, value in given.items():
        if isinstance(value, Mapping):
            merged[name] = _over(settings[name], {k: v for k, v in value.items() if v is not None})
        else:
            merged[name] = value
    return merged


def _read_toml(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise InputError(
            str(path), expected="a readable TOML file", found=error, remedy="Correct the file."
        ) from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """Where a client finds a service, and what it shows to it."""

    address: str
    token: str | None
    tenant: str


def resolve_endpoint(
    *, server: str | None = None, token: str | None = None, data_dir: Path | None = None
) -> Endpoint:
    """Find the service: flag, then STAGEAUDIT_SERVER, then client.toml, then the data folder.

    Args:
        server: ``host:port``, or None to look for it.
        token: The bearer token, or None: STAGEAUDIT_TOKEN, then ``token_file`` of client.toml,
            then the token in the data folder.
        data_dir: Data folder of a service on this machine; None means STAGEAUDIT_DATA_DIR or the
            usual one.

    Returns:
        The address, the token, which is None when there is none to be found, and the tenant:
        STAGEAUDIT_TENANT, then ``tenant`` of client.toml, then ``default``.

    Raises:
        UnavailableError: If nothing says where the service is.
        InputError: If client.toml is not valid.
    """
    settings = _read_toml(_existing(config_folder() / "client.toml"))
    folder = data_dir or Path(os.environ.get(ENVIRONMENT_PREFIX + "DATA_DIR") or data_folder())
    address = server
    if address is None and data_dir is None:
        address = os.environ.get(ENVIRONMENT_PREFIX + "SERVER") or settings.get("server")
    if address is None:
        address = _address_of_folder(folder)
    tenant = os.environ.get(ENVIRONMENT_PREFIX + "TENANT") or settings.get("tenant")
    secret = token or os.environ.get(ENVIRONMENT_PREFIX + "TOKEN")
    if secret is None:
        secret = _first_token(Path(settings["token_file"]) if "token_file" in settings else None)
    if secret is None:
        secret = _first_token(folder / TOKEN_FILE)
    return Endpoint(address=str(address), token=secret, tenant=str(tenant or DEFAULT_TENANT))


def _existing(path: Path) -> Path | None:
    return path if path.is_file() else None


def _read_text(path: Path | None) -> str | None:
    return path.read_text().strip() if path is not None and path.is_file() else None


def _first_token(path: Path | None) -> str | None:
    """Return the token of a file that holds one, or of a service's token file the first."""
    words = (_read_text(path) or "").split()
    return words[0] if words else None


def _address_of_folder(folder: Path) -> str:
    text = _read_text(folder / SERVER_FILE)
    if text is None:
        raise UnavailableError(
            "server",
            expected="the address of a service",
            found=f"no {SERVER_FILE} in the data folder",
            remedy="Start one with `stageaudit serve`, or pass --server HOST:PORT.",
        )
    return str(json.loads(text)["address"])
