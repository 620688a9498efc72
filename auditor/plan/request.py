"""``stageaudit.audit.v1``: what an audit asks; its canonical bytes' digest is the spec."""

from typing import Annotated, Final, Literal

from pydantic import Field, SerializeAsAny, model_validator

from auditor.effects import Probe, Query, Where
from auditor.errors import printable
from auditor.plan.derivation import DerivationStep
from auditor.plan.finer import AllocationRequest, TimelineRequest
from auditor.plan.repair import RepairRequest
from auditor.plan.settings import DEFAULT_CONFIDENCE, RECOMMENDED, EstimatorSettings
from auditor.stagelog.digest import digest_of
from auditor.stagelog.record import DigestField, Name, Record

AUDIT_SCHEMA: Final = "stageaudit.audit.v1"
LABEL_LIMIT = 128
"""Length of an intervention's label, which reports hold as a name."""


class StepWindow(Record):
    """Steps ``[first_step, end_step)`` inside the stage, in global numbering."""

    first_step: Annotated[int, Field(ge=0)]
    end_step: Annotated[int, Field(ge=0)]


class Selection(Record):
    """Examples of a dataset: every column named must hold one of its values."""

    columns: dict[Name, Annotated[tuple[str | int | bool, ...], Field(min_length=1)]]

    @property
    def parts(self) -> list[str]:
        """The columns and their values as short texts."""
        return [
            f"{column}={'|'.join(map(str, values))}"
            for column, values in sorted(self.columns.items())
        ]


class Reference(Record):
    """The data a stage would have used instead.

    Exactly one of ``dataset`` (a dataset of the log) and ``data`` (an evaluation set's manifest).
    ``recorded`` takes example i of the batch to example i modulo the reference's size;
    ``shuffled`` draws whole epochs of the reference in an order fixed by the audit's seed.
    """

    dataset: Name | None = None
    data: DigestField | None = None
    where: Selection | None = None
    order: Literal["recorded", "shuffled"] = "shuffled"


class Change(Record):
    """Another value of a hyperparameter: the recorded one times ``scale``, or ``value``."""

    scale: Annotated[float, Field(ge=0)] | None = None
    value: Annotated[float, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "Change":
        if (self.scale is None) == (self.value is None):
            raise ValueError("give exactly one of `scale` and `value`")
        return self

    @property
    def text(self) -> str:
        """What follows the hyperparameter's name in a label."""
        return f"*{self.scale:g}" if self.value is None else f"={self.value:g}"


class Intervention(Record):
    """What is changed, in one stage.

    ``skip``: the updates are not executed. ``fade``: they are scaled by ``alpha``. ``replace``: the
    stage uses ``reference`` at equal steps. ``drop``: the examples selected by ``where`` are not
    used; ``resampled`` fills the batch with others of the stage, ``kept`` leaves the mean's divisor
    as it was. ``change``: other ``hyperparameters``, named as in the schedule (``lr``, ``beta1``,
    ...), in every parameter group. ``steps`` narrows any of them to a window.
    """

    kind: Literal["skip", "fade", "replace", "drop", "change"]
    stage: Name
    steps: StepWindow | None = None
    where: Selection | None = None
    alpha: Annotated[float, Field(ge=0, le=1)] | None = None
    reference: Reference | None = None
    divisor: Literal["resampled", "kept"] | None = None
    hyperparameters: Annotated[dict[Name, Change], Field(min_length=1)] | None = None

    @property
    def removed_part(self) -> float:
        """The part of the updates that a skip (1) or fade (1 - alpha) removes."""
        return 1.0 - (self.alpha or 0.0)

    @property
    def label(self) -> str:
        """A short text that tells this intervention from others of the same audit; a Name."""
        parts = [self.kind, self.stage]
        if self.alpha is not None:
            parts.append(f"alpha={self.alpha:g}")
        parts += [] if self.where is None else self.where.parts
        if self.reference is not None:
            parts.append(f"by={self.reference.dataset or (self.reference.data or '')[:12]}")
            parts += [] if self.reference.where is None else self.reference.where.parts
            parts += ["order=recorded"] if self.reference.order == "recorded" else []
        if self.steps is not None:
            parts.append(f"steps={self.steps.first_step}-{self.steps.end_step}")
        if self.divisor == "kept":
            parts.append("divisor=kept")
        changes = self.hyperparameters or {}
        parts += [f"{name}{change.text}" for name, change in sorted(changes.items())]
        return _as_label(" ".join(parts), of=self)


class Joint(Record):
    """Several interventions at once, at most one in each stage."""

    kind: Literal["joint"] = "joint"
    parts: Annotated[tuple[Intervention, ...], Field(min_length=2)]

    @model_validator(mode="after")
    def _one_in_each_stage(self) -> "Joint":
        stages = [part.stage for part in self.parts]
        if len(set(stages)) < len(stages):
            raise ValueError("a joint intervention has at most one part in each stage")
        return self

    @property
    def label(self) -> str:
        """The labels of the parts; a Name."""
        return _as_label(" + ".join(part.label for part in self.parts), of=self)


def _as_label(text: str, *, of: Record) -> str:
    """Return a printable text of at most ``LABEL_LIMIT`` characters; a longer one is cut."""
    text = printable(text)
    if len(text) <= LABEL_LIMIT:
        return text
    end = f"… {digest_of(of)[:12]}"  # what was cut off still tells it from others
    return text[: LABEL_LIMIT - len(end)] + end


AnyIntervention = Annotated[Intervention | Joint, Field(discriminator="kind")]


class AuditRequest(Record):
    """An audit: queries against interventions on one log, by one estimator.

    ``interventions`` is ``"stages"`` (skip every stage) or a list. ``joint`` adds the joint effect
    of every pair of them that acts on two stages. ``allocation`` shares out what several stages did
    together, ``timelines`` shows the first-order effect of windows of steps. ``repair`` hands out
    the model of one of the interventions.
    ``noise`` asks how effects vary over the batch orders of later stages (sd_order) and over reruns
    of the pipeline (sd_rerun). ``extremes`` asks for so many examples that each intervention raised
    and lowered most. ``consistency_sample`` replays only this part of each stage's segments, drawn
    by ``seed``. ``derivation`` says what was done to the final checkpoint to make ``model``.
    """

    schema_: Annotated[Literal["stageaudit.audit.v1"], Field(alias="schema")] = AUDIT_SCHEMA
    log: DigestField
    model: DigestField | None = None
    derivation: Annotated[tuple[DerivationStep, ...], Field(min_length=1)] | None = None
    interventions: Literal["stages"] | Annotated[tuple[AnyIntervention, ...], Field(min_length=1)]
    joint: Literal["pairs"] | None = None
    allocation: AllocationRequest | None = None
    timelines: TimelineRequest | None = None
    queries: Annotated[tuple[Query | Probe, ...], Field(min_length=1)]
    estimator: SerializeAsAny[EstimatorSettings] = RECOMMENDED
    baselines: tuple[Literal["checkpoint_delta", "task_vector"], ...] = (
        "checkpoint_delta",
        "task_vector",
    )
    repair: RepairRequest | None = None
    consistency: Literal["replay", "skip"] = "replay"
    consistency_sample: Annotated[float, Field(gt=0, le=1)] | None = None
    extremes: Annotated[int, Field(ge=1, le=1000)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = DEFAULT_CONFIDENCE
    noise: tuple[Literal["order", "rerun"], ...] = ()
    purpose: Annotated[str, Field(max_length=1000)] | None = None
    operator: Annotated[str, Field(max_length=200)] | None = None
    policy_digest: DigestField | None = None


__all__ = [
    "AUDIT_SCHEMA", "AnyIntervention", "AuditRequest", "Change", "Intervention", "Joint", "Probe",
    "Query", "Reference", "Selection", "StepWindow", "Where",
]  # fmt: skip
