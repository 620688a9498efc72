"""``stageaudit estimators``: what can be asked for, what it needs, what it costs."""

from dataclasses import asdict, dataclass
from typing import Literal

import typer
from rich.table import Table

from service.cli.output import JsonOption, console, emit


@dataclass(frozen=True, kw_only=True, slots=True)
class EstimatorRow:
    """One line of the table, without loading the estimator."""

    id: str
    answers: str
    level: int
    cost: str
    interventions: str
    interval: str
    status: Literal["public", "experimental"] = "public"


ESTIMATORS: tuple[EstimatorRow, ...] = (
    EstimatorRow(
        id="default",
        answers="what this version recommends: auto with its defaults",
        level=2,
        cost="as auto",
        interventions="skip, fade, replace, drop, change",
        interval="yes",
    ),
    EstimatorRow(
        id="auto",
        answers="each intervention by the cheapest replay whose interval is within the tolerance: "
        "on 1/16, 1/8 or 1/4 of every batch, then exactly",
        level=2,
        cost="3/32 × retraining's examples for the first rung, as much again for the self-check; "
        "at most the budget",
        interventions="skip, fade, replace, drop, change",
        interval="yes",
    ),
    EstimatorRow(
        id="subsampled_replay",
        answers="the counterfactual run with the real optimizer on part of every batch, K times",
        level=2,
        cost="K b/B × retraining's examples, as much again for the self-check",
        interventions="skip, fade, replace, drop, change",
        interval="yes",
    ),
    EstimatorRow(
        id="retrain",
        answers="the counterfactual executed exactly on every recorded batch: the ground truth",
        level=2,
        cost="every later step, once for each intervention",
        interventions="skip, fade, replace, drop, change",
        interval="exact",
    ),
    EstimatorRow(
        id="aa_score",
        answers="the derivative of the query by the stage's updates (tangent or adjoint; "
        "curvature exact, ggn, ekfac or none)",
        level=2,
        cost="1 (none, ekfac) to 3 (exact) gradients a later step; tangent once a stage, adjoint "
        "once a query",
        interventions="skip, fade",
        interval="no",
    ),
    EstimatorRow(
        id="checkpoint_delta",
        answers="the query after the stage minus before it: what people look at today",
        level=0,
        cost="forward passes",
        interventions="skip",
        interval="no",
    ),
    EstimatorRow(
        id="task_vector",
        answers="the query without the stage's parameter change (task arithmetic)",
        level=0,
        cost="forward passes",
        interventions="skip",
        interval="no",
    ),
    EstimatorRow(
        id="checkpoint_jump",
        answers="the query where the stage's displacement is carried linearly through the others",
        level=2,
        cost="about 3 gradients a later step of each intervention; an EK-FAC with source",
        interventions="skip, fade, replace, drop, change",
        interval="no",
        status="experimental",
    ),
    EstimatorRow(
        id="coarse_replay",
        answers="the counterfactual run with one gradient for each block of c steps, K times",
        level=2,
        cost="K m/(cB) × retraining's examples and 1/c of its sequential gradients, twice",
        interventions="skip, fade, replace, drop, change",
        interval="yes",
        status="experimental",
    ),
    EstimatorRow(
        id="settle",
        answers="the last part of each later stage, run again from its end plus the displacement",
        level=2,
        cost="K f b/B × retraining's later stages, as much again once for all interventions",
        interventions="skip, fade, replace, drop, change",
        interval="yes",
        status="experimental",
    ),
)
"""Every estimator; an experimental one has not yet won a row of the benchmark."""
ESTIMATOR_IDS = tuple(row.id for row in ESTIMATORS)


def known_estimator(identifier: str | None) -> str | None:
    """Return an id that ``--estimator`` takes.

    Raises:
        typer.BadParameter: If there is no such estimator.
    """
    if identifier is not None and identifier not in ESTIMATOR_IDS:
        raise typer.BadParameter(f"{identifier!r} is not one of {', '.join(ESTIMATOR_IDS)}")
    return identifier


def estimators(*, as_json: JsonOption = False) -> None:
    """List the estimators: what they answer, the log level they need, what they cost.

    Use one with `stageaudit audit ... --estimator ID`. `stageaudit log inspect DIR` shows the
    level of a log. `checkpoint_delta` and `task_vector` stand beside every effect anyway.
    """
    emit(
        {"estimators": [asdict(row) for row in ESTIMATORS]},
        as_json=as_json,
        human=lambda: console.print(_table()),
    )


def _table() -> Table:
    table = Table(title="Estimators", title_justify="left")
    for heading in ("id", "answers", "log level", "cost", "interventions", "interval", "status"):
        table.add_column(heading, overflow="fold")
    for row in ESTIMATORS:
        table.add_row(
            row.id,
            row.answers,
            str(row.level),
            row.cost,
            row.interventions,
            row.interval,
            row.status,
        )
    return table
