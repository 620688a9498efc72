"""The scheduler's status as tables for people."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from service.cli.time_words import duration

GIBIBYTE = 2**30

Plain = Mapping[str, Any]
"""The status, or a part of it, as the client returns it."""


def top_table(status: Plain) -> RenderableType:
    """Return everything of one moment, one table below the other."""
    return Group(
        _headline(status),
        _queue(status["queue"]),
        _groups(status["groups"]),
        _devices(status["devices"]),
        _tenants(status["tenants"]),
    )


def _headline(status: Plain) -> Text:
    lanes = status["lanes"]
    text = f"{lanes['running_lanes']} lanes run, at most {lanes['max_lanes']} a group; "
    if lanes["recent_groups"]:
        mean = lanes["recent_mean_lanes"]
        text += (
            f"last minute: {lanes['recent_groups']} groups of {mean:.1f} lanes, "
            f"{mean / lanes['max_lanes']:.0%} full"
        )
    else:
        text += "no group ended in the last minute"
    text = f"{status['status_time'][11:19]} UTC  {text}"
    return Text(text if status["all_tenants"] else text + "\ngroups and tenants: your own")


def _table(*columns: str) -> Table:
    """Return a table whose first column is text and whose numbers are at the right."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for position, column in enumerate(columns):
        table.add_column(column, justify="left" if position == 0 else "right", no_wrap=True)
    return table


def _queue(rows: Iterable[Plain]) -> Table:
    table = _table("QUEUE", "ready", "blocked", "leased", "oldest waits")
    for row in reversed(list(rows)):
        table.add_row(
            row["priority"],
            *(str(row[f"{state}_actions"]) for state in ("ready", "blocked", "leased")),
            duration(row["oldest_ready_seconds"]) if row["ready_actions"] else "",
        )
    return table


def _groups(groups: Iterable[Plain]) -> Table:
    table = _table("GROUP", "device", "lanes", "steps", "runs", "left", "tenants")
    for group in groups:
        left = group.get("seconds_left")
        steps = f"{group['done_steps']}/{group['total_steps']}" if group["total_steps"] else ""
        table.add_row(
            group["kind"],
            group["device"],
            str(group["lanes"]),
            steps,
            duration(group["running_seconds"]) if group["started"] else "next",
            "" if left is None else duration(left),
            _names(group["tenants"]),
        )
    return table


def _names(tenants: Iterable[Plain]) -> str:
    """Return the tenants of a group, with how many lanes each has where there are several."""
    rows = list(tenants)
    if len(rows) == 1:
        return str(rows[0]["tenant"])
    return ", ".join(f"{row['tenant']} {row['lanes']}" for row in rows)


def _devices(devices: Iterable[Plain]) -> Table:
    table = _table("DEVICE", "state", "workers", "busy (1 min)", "groups", "restarts", "memory")
    for row in devices:
        table.add_row(
            row["device"],
            row["state"].replace("_", " "),
            str(row["workers"]),
            f"{row['busy_share']:.0%}",
            str(row["groups"]),
            str(row["restarts"]),
            _memory(row),
        )
    return table


def _memory(row: Plain) -> str:
    """Return what a device's group should need, or the last one needed, of what it may use."""
    budget = row.get("memory_budget_bytes")
    taken = row.get("memory_reserved_bytes") or row.get("memory_used_bytes") or 0
    return "" if budget is None else f"{taken / GIBIBYTE:.1f} of {budget / GIBIBYTE:.1f} GiB"


def _tenants(tenants: Iterable[Plain]) -> Table:
    table = _table(
        "TENANT", "weight", "lanes", "queued", "devices (1 min)", "succeeded", "failed", "cancelled"
    )
    for row in tenants:
        table.add_row(
            row["tenant"],
            f"{row['weight']:g}",
            str(row["running_lanes"]),
            str(row["queued_actions"]),
            f"{row['device_share']:.0%}",
            *(str(row[f"{end}_audits"]) for end in ("succeeded", "failed", "cancelled")),
        )
    return table
