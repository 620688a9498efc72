"""Actions: pure functions of blobs and settings, named by the digest of their description.

Every action is a frozen record; its key is the SHA-256 of its canonical bytes, ``code`` included,
which is raised whenever an algorithm's figures change. Actions depend on one another through
:class:`Computed` references. Results are blobs: states and values as safetensors, findings as
canonical JSON.
"""

import json
from functools import lru_cache
from typing import Annotated, Literal, NewType

from pydantic import Field

from auditor.effects import Query
from auditor.plan.curvature import SampledCurvature, StepCurvature
from auditor.plan.derivation import DerivationStep
from auditor.plan.request import Intervention
from auditor.plan.sampling import Draw
from auditor.stagelog.digest import digest_of
from auditor.stagelog.record import DigestField, Figure, Record

ActionKey = NewType("ActionKey", str)


class Recorded(Record):
    """A boundary checkpoint of the log, 0 to T."""

    at: Literal["boundary"] = "boundary"
    boundary: Annotated[int, Field(ge=0)]


class Computed(Record):
    """The state that another action results in."""

    at: Literal["action"] = "action"
    key: DigestField


StateRef = Annotated[Recorded | Computed, Field(discriminator="at")]


class CheckSegment(Record):
    """Replay stage ``stage`` exactly from its recorded start and compare with its checkpoints.

    ``sample`` is the part of its segments that is replayed, drawn by ``seed``; None for all.
    Result: canonical JSON of :class:`SegmentFinding`.
    """

    kind: Literal["check_segment"] = "check_segment"
    code: Literal[2] = 2
    log: DigestField
    stage: int
    sample: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: int | None = None


class BindModel(Record):
    """Compare a model artifact's parameters with the log's final checkpoint.

    ``derivation`` is what was done to the checkpoint before it was deployed; ``queries`` are what
    is compared where it says ``same_values``. Result: canonical JSON of :class:`BindingFinding`.
    """

    kind: Literal["bind_model"] = "bind_model"
    code: Literal[1] = 1
    log: DigestField
    model: DigestField
    derivation: tuple[DerivationStep, ...] | None = None
    queries: tuple[Query, ...] | None = None


class Advance(Record):
    """Carry a boundary state through one stage: its transition, then its steps.

    ``intervention`` acts on this stage or is None (the recorded steps). ``fraction`` is the part
    of each step's examples that is used, drawn for ``replica``; 1 uses all and ignores replica.
    ``seed`` drives sub-samples, drawn references and orders. ``order`` is that of the stage's
    examples: 0 as recorded, else another one. ``draw`` is how a sub-sample is drawn. Result: a
    state.
    """

    kind: Literal["advance"] = "advance"
    code: Literal[2] = 2
    log: DigestField
    stage: int
    start: StateRef
    intervention: Intervention | None = None
    fraction: float = 1.0
    replica: int = 0
    seed: int = 0
    order: Annotated[int, Field(ge=0)] = 0
    draw: Draw = "balanced"


class CoarseAdvance(Record):
    """As :class:`Advance`, with one gradient for every ``block_steps`` steps.

    It is taken on ``fraction`` of the block's examples; ``curvature`` is that of the local model in
    between. Result: a state.
    """

    kind: Literal["coarse_advance"] = "coarse_advance"
    code: Literal[1] = 1
    log: DigestField
    stage: int
    start: StateRef
    intervention: Intervention | None
    block_steps: int
    fraction: float
    curvature: Literal["none"] | SampledCurvature
    replica: int
    seed: int


class SettleStage(Record):
    """Carry a displacement through a stage by running the last ``tail`` of its steps.

    They start from the recorded end plus what lies between ``start`` and ``origin``, states at the
    boundary before the stage: a counterfactual one and its factual twin. The same reference twice
    is a displacement of nothing. The other fields are those of :class:`Advance`. Result: a state.
    """

    kind: Literal["settle_stage"] = "settle_stage"
    code: Literal[1] = 1
    log: DigestField
    stage: int
    start: StateRef
    origin: StateRef
    tail: float
    fraction: float
    replica: int
    seed: int


class JumpStage(Record):
    """Carry a displacement through a stage by the Jacobians of its recorded steps.

    It lies between ``start`` and ``origin``, as in :class:`SettleStage`. ``fraction``, ``replica``
    and ``seed`` sample the steps, as in :class:`Advance`. Result: the recorded end of the stage
    plus what has become of the displacement: a state.
    """

    kind: Literal["jump_stage"] = "jump_stage"
    code: Literal[1] = 1
    log: DigestField
    stage: int
    start: StateRef
    origin: StateRef
    curvature: StepCurvature
    fraction: float = 1.0
    replica: int = 0
    seed: int = 0


class FlowStage(Record):
    """As :class:`JumpStage`, by linearised gradient flow in the eigenbasis of one EK-FAC."""

    kind: Literal["flow_stage"] = "flow_stage"
    code: Literal[1] = 1
    log: DigestField
    stage: int
    start: StateRef
    origin: StateRef
    curvature: SampledCurvature


class Displace(Record):
    """The final state with the parameter changes of stages subtracted (task vector): a state."""

    kind: Literal["displace"] = "displace"
    code: Literal[1] = 1
    log: DigestField
    stages: tuple[int, ...]


class Embedding(Record):
    """AA-Score, tangent form: d theta_K / d alpha of an intervention's steps: a state."""

    kind: Literal["embedding"] = "embedding"
    code: Literal[1] = 1
    log: DigestField
    intervention: Intervention
    curvature: StepCurvature


class Sweep(Record):
    """AA-Score, adjoint form: d mean gamma / d alpha_k of every step.

    Result: safetensors ``steps`` [K] float64.
    """

    kind: Literal["sweep"] = "sweep"
    code: Literal[1] = 1
    log: DigestField
    query: Query
    curvature: StepCurvature


class Evaluate(Record):
    """A query's value per example at a state: safetensors ``values`` [N] float64, ``id`` [N].

    Also ``cluster`` [N] int64 if the query names a column, and ``jackknife`` if these are jackknife
    values of a metric: their mean is the metric, but none of them is about one example.
    """

    kind: Literal["evaluate"] = "evaluate"
    code: Literal[2] = 2
    log: DigestField
    state: StateRef
    query: Query


class Project(Record):
    """Directional derivative of a query's values at the final state along an embedding.

    Result: safetensors ``values`` [N] float64, ``id`` [N].
    """

    kind: Literal["project"] = "project"
    code: Literal[1] = 1
    log: DigestField
    embedding: DigestField
    query: Query


class ExportState(Record):
    """A final state as a model file with the final checkpoint's names and dtypes: safetensors."""

    kind: Literal["export_state"] = "export_state"
    code: Literal[1] = 1
    log: DigestField
    state: StateRef


class WriteReport(Record):
    """Turn the results of an audit into report figures.

    Result: canonical JSON of a report without its ``run`` part. ``inputs`` are all keys it rests
    on; ``request`` is the audit request's digest.
    """

    kind: Literal["report"] = "report"
    code: Literal[1] = 1
    request: DigestField
    inputs: tuple[DigestField, ...]


ActionSpec = Annotated[
    CheckSegment
    | BindModel
    | Advance
    | CoarseAdvance
    | SettleStage
    | JumpStage
    | FlowStage
    | Displace
    | Embedding
    | Sweep
    | Evaluate
    | Project
    | ExportState
    | WriteReport,
    Field(discriminator="kind"),
]


def key_of(spec: ActionSpec) -> ActionKey:
    """Return the action's name: the digest of its canonical description."""
    # A plan names the same actions over and over; pydantic's JSON is a tenth of the canonical's
    # cost, and equal JSON means equal canonical bytes.
    return _key_of_json(spec.model_dump_json(by_alias=True, exclude_none=True))


@lru_cache(maxsize=2**14)
def _key_of_json(text: str) -> ActionKey:
    return ActionKey(digest_of(json.loads(text)))


def dependencies(spec: ActionSpec) -> tuple[ActionKey, ...]:
    """Return the keys of the actions whose results this one reads."""
    match spec:
        case Advance(start=Computed(key=key)) | CoarseAdvance(start=Computed(key=key)):
            return (ActionKey(key),)
        case Evaluate(state=Computed(key=key)):
            return (ActionKey(key),)
        case ExportState(state=Computed(key=key)):
            return (ActionKey(key),)
        case SettleStage() | JumpStage() | FlowStage():
            return tuple(dict.fromkeys(computed_keys(spec.start, spec.origin)))
        case Project(embedding=key):
            return (ActionKey(key),)
        case WriteReport(inputs=keys):
            return tuple(ActionKey(key) for key in keys)
        case _:
            return ()


def computed_keys(*states: StateRef) -> tuple[ActionKey, ...]:
    """Return the keys of the actions that states come from; checkpoints come from none."""
    return tuple(ActionKey(state.key) for state in states if isinstance(state, Computed))


class SegmentFinding(Record):
    """How far an exact replay of a stage ended from its recorded checkpoints.

    ``deviation`` is the largest difference of any parameter, relative to the largest magnitude
    among the recorded parameters; ``tolerance`` is ten times the deviation of a second replay
    whose start is perturbed by one unit in the last place (decisions, 11).

    ``checkpoints`` of the stage's ``segments`` were compared. ``inconsistent_steps`` are those of
    the first segment that does not reach its checkpoint: [first, end). What would have been seen: a
    checkpoint changed by more than ``detectable_state`` of the largest parameter, and one step's
    update changed by more than the part ``detectable_update`` of an average one.
    ``rounding_coordinates`` are parameters whose gradient is rounding noise that Adam magnifies:
    bounded by how far Adam can carry them, not compared to the tolerance.
    """

    stage: int
    checkpoints: int
    segments: int | None = None
    deviation: Figure
    tolerance: Figure
    amplification: Figure
    verdict: Literal["consistent", "inconsistent", "not resolvable"]
    worst: str
    inconsistent_steps: tuple[int, int] | None = None
    detectable_state: Figure | None = None
    detectable_update: Figure | None = None
    rounding_coordinates: int = 0


class BindingFinding(Record):
    """The outcome of comparing a model artifact with the final checkpoint.

    ``deviation`` is the largest difference that was allowed for: of a tensor, relative to its
    largest magnitude, or of a query's values; None where the tensors are equal bit for bit.
    """

    bound: bool
    tensors: int
    format: Literal["safetensors", "onnx"]
    derivation: str | None = None
    deviation: Figure | None = None
