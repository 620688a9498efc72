"""``stageaudit doctor``: is this installation able to do what you want, and if not, what to do."""

import shutil
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.markup import escape
from rich.table import Table

from auditor.errors import AuditorError
from service.cli.connect import ServerOption, connect
from service.cli.output import ExitCode, JsonOption, console, emit

if TYPE_CHECKING:
    from service.ray_config import RayConfig

RAY_SECONDS = 3.0
MINIMUM_PYTHON = (3, 11)
GIBIBYTE = 2**30
ENOUGH_FREE_BYTES = 2 * GIBIBYTE
EXTRAS = {
    "log": ("numpy", "pyarrow", "safetensors"),
    "record": ("torch", "onnx", "onnxscript"),
    "report": ("jinja2",),
    "server": ("sqlalchemy", "alembic", "structlog", "prometheus_client", "scipy"),
    "postgres": ("psycopg",),
    "demo": ("sklearn",),
    "ray": ("ray",),
}
"""Modules that tell whether an extra is installed."""
PURPOSES = {
    "log": "check logs, read .npz",
    "record": "record a training",
    "report": "write pages of reports",
    "server": "serve, audit --local",
    "postgres": "keep records in PostgreSQL",
    "demo": "stageaudit demo",
    "ray": "serve --executor ray",
}


class Status(StrEnum):
    """How a check went."""

    OK = "ok"
    NOTE = "note"  # works, but something is not possible
    PROBLEM = "problem"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One line of the diagnosis."""

    check: str
    status: Status
    found: str
    remedy: str = ""


def doctor(server: ServerOption = None, as_json: JsonOption = False) -> None:
    """Check Python, extras, devices, disk, database, keys and the service, and say what to do.

    Exit code 1 when something is broken; a part that is merely not installed is a note.
    """
    findings = list(examine(server))
    emit(
        {"findings": [asdict(finding) for finding in findings]},
        as_json=as_json,
        human=lambda: console.print(_table(findings)),
    )
    if any(finding.status is Status.PROBLEM for finding in findings):
        raise typer.Exit(ExitCode.FAIL)


def examine(server: str | None) -> Iterator[Finding]:
    """Yield every finding about this machine."""
    from service.config import cache_folder, config_folder, load_service_config

    yield check_python(sys.version_info[:3])
    yield check_version()
    for extra in EXTRAS:
        yield check_extra(extra, is_installed=lambda module: find_spec(module) is not None)
    if find_spec("torch") is not None:
        yield check_torch()
    data = load_service_config()
    for name, folder in (("data folder", data.data_dir), ("cache folder", cache_folder())):
        yield check_disk(name, folder, free_bytes=_free_bytes(folder))
    if data.executor == "ray":
        yield check_ray(data.ray)
    if find_spec("sqlalchemy") is not None and find_spec("alembic") is not None:
        yield check_records(data.records_at)
    yield check_key(data.keys_dir, trust=config_folder() / "trust.json")
    yield check_service(server)


def check_python(found: Sequence[int]) -> Finding:
    """Say whether this Python is new enough."""
    text = ".".join(map(str, found))
    if tuple(found) < MINIMUM_PYTHON:
        return Finding(
            check="Python",
            status=Status.PROBLEM,
            found=text,
            remedy="Install Python 3.11 or newer and make a new environment.",
        )
    return Finding(check="Python", status=Status.OK, found=text)


def check_version() -> Finding:
    """Say which version is installed."""
    try:
        return Finding(check="stageaudit", status=Status.OK, found=version("stageaudit"))
    except PackageNotFoundError:
        return Finding(
            check="stageaudit",
            status=Status.NOTE,
            found="a source folder, not installed",
            remedy="Run `pip install -e .` in it.",
        )


def check_extra(extra: str, *, is_installed: Callable[[str], bool]) -> Finding:
    """Say whether an extra's libraries are there, without importing them."""
    missing = [module for module in EXTRAS[extra] if not is_installed(module)]
    name = f"extra [{extra}]"
    if not missing:
        return Finding(check=name, status=Status.OK, found=f"installed: {PURPOSES[extra]}")
    return Finding(
        check=name,
        status=Status.NOTE,
        found=f"missing {', '.join(missing)}",
        remedy=f"To {PURPOSES[extra]}: pip install 'stageaudit[{extra}]'.",
    )


def check_torch() -> Finding:
    """Say which torch there is and on which devices it computes."""
    import torch

    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    where = ", ".join(devices) if devices else f"CPU only, {torch.get_num_threads()} threads"
    return Finding(check="torch", status=Status.OK, found=f"{torch.__version__}: {where}")


def check_disk(name: str, folder: Path, *, free_bytes: int) -> Finding:
    """Say whether there is room for blobs and results."""
    found = f"{folder}: {free_bytes / GIBIBYTE:.1f} GiB free"
    if free_bytes < ENOUGH_FREE_BYTES:
        return Finding(
            check=name,
            status=Status.PROBLEM,
            found=found,
            remedy=f"Free some space: at least {ENOUGH_FREE_BYTES // GIBIBYTE} GiB.",
        )
    return Finding(check=name, status=Status.OK, found=found)


def check_records(where: Path | str) -> Finding:
    """Say whether the database of the settings answers and this version can use it."""
    from service.records.describe import describe, place_of

    if isinstance(where, Path) and not where.exists():
        return Finding(
            check="database",
            status=Status.NOTE,
            found=f"none at {where}",
            remedy="`stageaudit serve` makes a SQLite file; STAGEAUDIT_RECORDS_URL names a server.",
        )
    try:
        found = describe(where)
    except AuditorError as error:
        return Finding(
            check="database",
            status=Status.PROBLEM,
            found=f"{place_of(where)}: {error.found}",
            remedy=error.remedy,
        )
    schema = f"schema {found.revision}" if found.revision else "no schema yet"
    return Finding(
        check="database",
        status=Status.OK,
        found=f"{found.product} {found.version} at {found.place}, {schema}",
    )


def check_key(folder: Path, *, trust: Path) -> Finding:
    """Say whether there is a usable signing key and whether it is trusted here."""
    from service.keys import describe_signing_key, has_signing_key, load_signing_key, read_trust

    if not has_signing_key(folder):
        return Finding(
            check="signing key",
            status=Status.NOTE,
            found=f"none in {folder}",
            remedy="`stageaudit keys init` makes one; `stageaudit serve` does so itself.",
        )
    try:
        load_signing_key(folder)
        stored = describe_signing_key(folder)
        trusted = trust.is_file() and read_trust(trust).find(stored.keyid) is not None
    except AuditorError as error:
        return Finding(
            check="signing key",
            status=Status.PROBLEM,
            found=f"{error.where}: {error.found}",
            remedy=error.remedy,
        )
    if not trusted:
        return Finding(
            check="signing key",
            status=Status.NOTE,
            found=f"{stored.keyid[:16]}…, not in {trust}",
            remedy="`stageaudit keys init` adds it, so that `stageaudit verify` accepts it here.",
        )
    return Finding(check="signing key", status=Status.OK, found=f"{stored.keyid[:16]}…, trusted")


def check_ray(config: "RayConfig") -> Finding:
    """Say whether the Ray cluster of the settings answers."""
    if config.address is None:
        return Finding(check="Ray", status=Status.OK, found="`serve` starts a cluster here")
    host, _, port = config.address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), RAY_SECONDS).close()
    except OSError as error:
        return Finding(
            check="Ray",
            status=Status.PROBLEM,
            found=f"{config.address}: {error.strerror or error}",
            remedy="Start the cluster with `ray start`, or correct ray.address.",
        )
    return Finding(check="Ray", status=Status.OK, found=f"{config.address} answers")


def check_service(server: str | None) -> Finding:
    """Say whether a service answers."""
    from service.config import resolve_endpoint

    try:
        address = resolve_endpoint(server=server).address
        with connect(server) as client:
            audits = client.list_audits()
    except AuditorError as error:
        return Finding(
            check="service",
            status=Status.NOTE if server is None else Status.PROBLEM,
            found=f"{error.where}: {error.found}",
            remedy=error.remedy + " `stageaudit audit --local` needs none.",
        )
    return Finding(
        check="service", status=Status.OK, found=f"{address} answers, {len(audits)} audits"
    )


def _free_bytes(folder: Path) -> int:
    existing = next(path for path in (folder, *folder.parents) if path.is_dir())
    return shutil.disk_usage(existing).free


def _table(findings: Sequence[Finding]) -> Table:
    colours = {Status.OK: "green", Status.NOTE: "yellow", Status.PROBLEM: "bold red"}
    table = Table(box=None, show_header=False)
    for _ in range(4):
        table.add_column(overflow="fold")
    for finding in findings:
        colour = colours[finding.status]
        # Escaped: "[log]" names an extra and is no markup.
        cells = map(escape, (finding.check, finding.found, finding.remedy))
        table.add_row(f"[{colour}]{finding.status}[/]", *cells)
    return table
