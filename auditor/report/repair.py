"""The part of a report that is about a repaired model; it makes the report a repair statement."""

from typing import Annotated, Literal

from pydantic import Field

from auditor.effects import Better
from auditor.plan.repair import Goal
from auditor.plan.request import AnyIntervention, Intervention, Joint
from auditor.stagelog.record import DigestField, Figure, Name, Record


class RepairedModel(Record):
    """A checkpoint with the names, shapes and dtypes of the log's final one, as safetensors."""

    digest: DigestField
    size_bytes: Annotated[int, Field(ge=0)]
    tensors: Annotated[int, Field(ge=0)]


class BeforeAfter(Record):
    """A query at the final model and at the repaired one, both evaluated as they are."""

    query: Name
    unit: str
    better: Annotated[Better, Field(strict=False)]
    before: Figure
    after: Figure
    n: Annotated[int, Field(ge=1)]


class GoalOutcome(Record):
    """What was asked of the repaired model, and whether it holds."""

    goal: Goal
    found: Figure
    met: bool


class Repair(Record):
    """What was done, to what, and what came of it.

    ``fraction`` is the part of each batch that the replay of the counterfactual used; 1 is exact
    retraining from the intervention on.
    """

    intervention: AnyIntervention
    label: Name
    statement: str
    method: Literal["retrain", "subsampled_replay"]
    fraction: float
    replica: int
    model: RepairedModel
    queries: tuple[BeforeAfter, ...]
    goals: tuple[GoalOutcome, ...] = ()


_WITHOUT = {
    "skip": "{stage}",
    "fade": "{removed:.4g} % of every update of {stage}",
    "replace": "the data of {stage}, with the reference data in its place",
    "drop": "the examples of {stage} with {where}",
    "change": "the recorded hyperparameters of {stage}, with others in their place",
}


def repair_statement(intervention: Intervention | Joint) -> str:
    """Return the sentence that says what a repaired model is and what it is not."""
    parts = intervention.parts if isinstance(intervention, Joint) else (intervention,)
    without = " and without ".join(_without(part) for part in parts)
    return (
        f"An approximate model of training without {without}; not certified unlearning, not "
        "erasure under GDPR Art. 17; re-validate before release."
    )


def _without(intervention: Intervention) -> str:
    stage = f"stage {intervention.stage!r}"
    if intervention.steps is not None:
        window = intervention.steps
        stage = f"steps {window.first_step} to {window.end_step - 1} of {stage}"
    return _WITHOUT[intervention.kind].format(
        stage=stage,
        removed=100 * intervention.removed_part,
        where="" if intervention.where is None else ", ".join(intervention.where.parts),
    )
