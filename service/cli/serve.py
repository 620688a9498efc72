"""``stageaudit serve``: the service on this machine, until it is told to stop."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auditor.checks import needs_extra
from service.cli.output import JsonOption, console, notice

if TYPE_CHECKING:
    from service.data_dir import Address


def serve(
    config: Annotated[
        Path | None,
        typer.Option(help="Settings in TOML; environment and flags win.", dir_okay=False),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Database, blobs, keys, token.", file_okay=False)
    ] = None,
    host: Annotated[str | None, typer.Option(help="A loopback address.")] = None,
    port: Annotated[int | None, typer.Option(help="Of gRPC; 0 takes a free one.")] = None,
    metrics_port: Annotated[
        int | None, typer.Option(help="Of /metrics, /livez, /readyz; 0 takes a free one.")
    ] = None,
    devices: Annotated[
        str | None,
        typer.Option(help="One worker process each, such as cpu or cuda:0,cuda:1; or auto."),
    ] = None,
    executor: Annotated[
        str | None, typer.Option(help="Where workers run: local, or ray (extra [ray]).")
    ] = None,
    ray_address: Annotated[
        str | None, typer.Option(help="HOST:PORT of a Ray cluster; without it one is started.")
    ] = None,
    ray_workers: Annotated[int | None, typer.Option(help="Workers on the Ray cluster.")] = None,
    reflection: Annotated[
        bool | None, typer.Option(help="Let generic gRPC clients ask for the schema.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run the service: gRPC, SQLite and a folder, one worker process a device.

    Several services share a PostgreSQL by the settings records_url and blobs_dir (docs/runbook.md).

    Other commands on this machine find it by its data folder. SIGTERM or Ctrl-C drains it: running
    work is put back and goes on when it starts again; a second one ends it at once. With --json one
    line says where it listens, once it is ready.
    """
    with needs_extra("server", purpose="The service"):
        from service.main import serve as run_service
    import asyncio

    from service.config import load_service_config

    settings = load_service_config(
        config,
        flags={
            "data_dir": data_dir,
            "host": host,
            "port": port,
            "metrics_port": metrics_port,
            "devices": devices,
            "executor": executor,
            "ray": {"address": ray_address, "workers": ray_workers},
            "reflection": reflection,
        },
    )

    def ready(address: "Address") -> None:
        if as_json:
            sys.stdout.write(json.dumps(asdict(address), sort_keys=True) + "\n")
            sys.stdout.flush()
            return
        console.print(f"ready on {address.address}, metrics on {address.metrics_address}")
        notice("audit with `stageaudit audit`; stop with Ctrl-C")

    asyncio.run(run_service(settings, ready=ready))
