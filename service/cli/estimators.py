"""``stageaudit estimators``: what can be asked for, what it needs, what it costs."""

from typing import TYPE_CHECKING

from rich.table import Table

from auditor.checks import needs_extra
from service.cli.output import JsonOption, console, emit

if TYPE_CHECKING:
    from auditor.estimators.kind import AnyKind

HEADINGS = {
    "id": "id",
    "answers": "answers",
    "level": "log level",
    "cost": "cost",
    "interventions": "interventions",
    "interval": "interval",
    "status": "status",
}
"""Field in the JSON -> heading of the table's column."""


def estimators(*, as_json: JsonOption = False) -> None:
    """List the estimators: what they answer, the log level they need, what they cost.

    Use one with `stageaudit audit ... --estimator ID`. `stageaudit log inspect DIR` shows the
    level of a log. `checkpoint_delta` and `task_vector` stand beside every effect anyway.
    """
    with needs_extra("log", purpose="Listing estimators"):
        from auditor.estimators.registry import DEFAULT, KINDS, kind_of
    recommended = kind_of(DEFAULT)
    rows = [
        {
            **_row(recommended),
            "id": "default",
            "answers": f"what this version recommends: {recommended.id} with its defaults",
            "cost": f"as {recommended.id}",
        },
        *map(_row, KINDS),
    ]
    emit({"estimators": rows}, as_json=as_json, human=lambda: console.print(_table(rows)))


def _row(kind: "AnyKind") -> dict[str, object]:
    return {
        "id": kind.id,
        "answers": kind.answers,
        "level": kind.level,
        "cost": kind.cost,
        "interventions": ", ".join(kind.interventions),
        "interval": kind.interval,
        "status": kind.status,
    }


def _table(rows: list[dict[str, object]]) -> Table:
    table = Table(title="Estimators", title_justify="left")
    for heading in HEADINGS.values():
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(str(row[field]) for field in HEADINGS))
    return table
