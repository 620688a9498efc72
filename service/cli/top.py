"""``stageaudit top``: what a service has queued and runs, live."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.connect import ServerOption, connect
from service.cli.output import JsonOption, console, emit

if TYPE_CHECKING:
    from service.client import Client


def top(
    once: Annotated[
        bool, typer.Option("--once", help="Print how things stand now, and end.")
    ] = False,
    interval: Annotated[
        float, typer.Option("--interval", metavar="SECONDS", help="Time between looks.", min=0.1)
    ] = 1.0,
    server: ServerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the queue, groups, lanes, devices and tenants of a service; `q` or Ctrl-C ends it.

    Times and shares are of the last minute. The tenant `default` sees every tenant, others their
    own groups and row. With `--json`, one document a line. Without a terminal it prints once.
    """
    with connect(server) as client:
        if once:
            _print_once(client, as_json=as_json)
            return
        try:
            if as_json:
                _stream(client, interval=interval)
            elif console.is_terminal:
                _live(client, interval=interval)
            else:
                _print_once(client, as_json=False)
        except KeyboardInterrupt:
            return  # the usual way out, not an interruption of anything
        except BrokenPipeError:  # whoever read the documents has enough of them
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print_once(client: Client, *, as_json: bool) -> None:
    from service.cli.top_table import top_table

    status = client.scheduler_status()
    emit(status, as_json=as_json, human=lambda: console.print(top_table(status)))


def _stream(client: Client, *, interval: float) -> None:
    """Print a document a line until somebody ends it."""
    from service.cli.key_press import Waited, key_presses

    with key_presses() as wait:
        while True:
            status = client.scheduler_status()
            sys.stdout.write(json.dumps(status, ensure_ascii=False, sort_keys=True) + "\n")
            sys.stdout.flush()
            if wait(interval) is Waited.QUIT:
                return


def _live(client: Client, *, interval: float) -> None:
    """Redraw one screen in place until somebody ends it."""
    from rich.live import Live

    from service.cli.key_press import Waited, key_presses
    from service.cli.top_table import top_table

    first = top_table(client.scheduler_status())  # a service that is not there has no screen
    # The second screen of the terminal: what was on the first one is there again afterwards. One
    # write a look, so nothing flickers.
    with (
        key_presses() as wait,
        Live(first, console=console, screen=True, auto_refresh=False) as live,
    ):
        live.refresh()
        while wait(interval) is not Waited.QUIT:
            live.update(top_table(client.scheduler_status()), refresh=True)
