"""The manifest ``stageaudit.stagelog.v1``: a staged training as a value without tensors.

Steps are global and half-open: stage t owns ``[first_step, end_step)``. There are T + 1
boundary checkpoints: ``start`` (before the first transition) and the last checkpoint of every
stage (before the next transition). The schema is that of ``docs/reference/stagelog.schema.json``.
Fields whose treatment is not built are in the schema and refused by name in
:mod:`auditor.stagelog.validate`.
"""

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import Field

from auditor.stagelog.dataset import Dataset
from auditor.stagelog.record import DigestField, Name, Record, Shape

STAGELOG_SCHEMA: Final = "stageaudit.stagelog.v1"


class Run(Record):
    """Facts about the training run as a whole."""

    name: Name
    created: str
    recorder: str
    framework: str
    source_revision: str | None = None
    hardware: str | None = None
    world_size: Annotated[int, Field(ge=1)] = 1
    labels: dict[str, str] = Field(default_factory=dict)


class ParameterInfo(Record):
    """Shape and kind of one entry of the model's state."""

    shape: Shape
    dtype: str
    kind: Literal["parameter", "buffer"] = "parameter"
    tied_to: Name | None = None  # names one tensor that this one is an alias of


class GraphValue(Record):
    """An input or output of a graph; a text dimension is symbolic."""

    name: Name
    dtype: str
    shape: tuple[int | str, ...]


class Graph(Record):
    """A forward computation as an ONNX blob without weights."""

    onnx: DigestField
    inputs: tuple[GraphValue, ...]
    outputs: tuple[GraphValue, ...]
    batch_norm: Literal["none", "batch", "running"] = "none"
    dropout: tuple[float, ...] = ()
    running_norms: tuple[Name, ...] | None = None  # running means of frozen ones, of `batch`


class Bindings(Record):
    """What feeds the graph and the loss: graph input -> column, loss argument -> column."""

    inputs: dict[Name, Name]
    target: Name
    weight: Name | None = None
    mask: Name | None = None
    output: Annotated[int, Field(ge=0)] = 0


class Loss(Record):
    """Per-example loss and how a step reduces it."""

    kind: str
    reduction: Literal["mean", "sum"] = "mean"
    over: Literal["examples", "tokens"] = "examples"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    class_weights: tuple[float, ...] | None = None
    ignore_index: int | None = None
    pos_weight: tuple[float, ...] | None = None  # of binary cross entropy
    beta: Annotated[float, Field(gt=0)] | None = None  # of dpo
    reference: Literal["fixed", "stage_start"] | None = None
    graph: DigestField | None = None


class Optimizer(Record):
    """Step arithmetic shared by all groups; the numbers are in the schedule."""

    kind: str
    nesterov: bool = False
    amsgrad: bool = False
    maximize: bool = False


class ParameterGroup(Record):
    """Parameters that share hyperparameters; a parameter in no group is frozen."""

    parameters: tuple[Name, ...]


class Transition(Record):
    """What changes before a stage (R_t): applied also when the stage is skipped."""

    optimizer: Literal["reset", "keep"] = "reset"
    added: tuple[Name, ...] = ()
    added_values: DigestField | None = None  # safetensors: initial values of ``added``
    removed: tuple[Name, ...] = ()
    renamed: dict[Name, Name] | None = None  # new name -> the one that held the tensor before
    frozen: tuple[Name, ...] = ()
    unfrozen: tuple[Name, ...] = ()

    @property
    def appearing(self) -> frozenset[str]:
        """Names that are in the model because of the transition."""
        return frozenset(self.added) | frozenset(self.renamed or {})

    @property
    def vanishing(self) -> frozenset[str]:
        """Names that are not, unless they are also :attr:`appearing`."""
        return frozenset(self.removed) | frozenset((self.renamed or {}).values())

    @property
    def new_names(self) -> dict[str, str]:
        """Old name -> new name of what is renamed."""
        return {old: new for new, old in (self.renamed or {}).items()}


class CheckpointRole(StrEnum):
    """Why a checkpoint was kept."""

    BOUNDARY = "boundary"
    WITNESS = "witness"
    CADENCE = "cadence"


class Checkpoint(Record):
    """The training state at the start of ``step``.

    ``parameters`` is a safetensors blob of parameters and buffers by name; those that it lacks are
    in ``unchanged``, blobs of earlier states of which a later one counts where two hold a name, and
    of which names that the model does not have count nothing. ``optimizer`` is one of
    ``<slot>/<parameter>`` with slots ``momentum_buffer`` and ``initialised`` (SGD) or
    ``exp_avg``, ``exp_avg_sq`` and ``count`` (Adam, AdamW).
    """

    step: Annotated[int, Field(ge=0)]
    unchanged: tuple[DigestField, ...] | None = None
    parameters: DigestField
    optimizer: DigestField | None = None
    role: CheckpointRole = Field(default=CheckpointRole.BOUNDARY, strict=False)

    @property
    def values(self) -> tuple[str, ...]:
        """Blobs of parameters and buffers; of a name in several the last one counts."""
        return (*(self.unchanged or ()), self.parameters)


class External(Record):
    """A blob that the log names but does not hold, such as a base model that many runs share."""

    place: Annotated[str, Field(min_length=1, max_length=1000)]
    size_bytes: Annotated[int, Field(ge=0)]


class Clipping(Record):
    """Gradient clipping before the update."""

    kind: Literal["norm", "value"]
    limit: Annotated[float, Field(gt=0)]


class Stochastic(Record):
    """Randomness of the forward computation; ``recorded`` means the tensors seen are the data.

    Dropout that is ``seeded`` has the masks of :mod:`auditor.model.keyed_dropout` under ``seed``.
    """

    dropout: Literal["none", "not_recorded", "seeded"] = "none"
    augmentation: Literal["none", "recorded", "not_recorded"] = "none"
    seed: Annotated[int, Field(ge=0, lt=2**53)] | None = None


class StageKind(StrEnum):
    """What a stage was for."""

    PRETRAIN = "pretrain"
    FINETUNE = "finetune"
    ADAPT = "adapt"
    ALIGN = "align"
    OTHER = "other"


class Stage(Record):
    """Consecutive steps with one purpose."""

    name: Name
    kind: StageKind = Field(default=StageKind.OTHER, strict=False)
    graph: Name
    bindings: Bindings
    loss: Loss
    datasets: tuple[Name, ...] = ()
    first_step: Annotated[int, Field(ge=0)]
    end_step: Annotated[int, Field(ge=0)]
    examples_per_step: Annotated[int, Field(ge=1)] | None = None  # the largest of the stage
    transition: Transition
    optimizer: Optimizer
    groups: tuple[ParameterGroup, ...]
    schedule: DigestField | None = None
    batches: DigestField | None = None
    checkpoints: tuple[Checkpoint, ...]
    accumulation: Annotated[int, Field(ge=1)] = 1
    accumulated: Literal["step"] | None = None  # None: a mean of the means of its microbatches
    skipped: tuple[int, ...] | None = None  # steps before which a scaler refused an update
    clipping: Clipping | None = None
    precision: str = "float32"
    stochastic: Stochastic = Stochastic()
    loss_denominator: Literal["rows", "recorded"] = "rows"
    loss_scale: Literal["recorded"] | None = None  # a scaler refuses steps that overflow
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None  # the stage ends with its average
    ema_from: Literal["first_step"] | None = None  # None: the average starts with the stage
    tokenizer: DigestField | None = None  # of what turned texts into the columns
    preprocessing: DigestField | None = None  # of what turned images into them
    parents: tuple[Name, ...] | None = None  # None: the stage before; else forks and merges
    generated_by: Name | None = None

    @property
    def steps(self) -> int:
        """Number of optimizer updates."""
        return self.end_step - self.first_step

    @property
    def masked(self) -> bool:
        """Whether its dropout masks can be made again, and have to be."""
        return self.stochastic.dropout == "seeded"

    @property
    def trainable(self) -> frozenset[str]:
        """Names of the parameters that this stage updates."""
        return frozenset(name for group in self.groups for name in group.parameters)


class Origin(Record):
    """That a log is not what the recorder finished, but was made from it, or from checkpoints.

    ``log`` is the identity of the log it was made from, None when there was no complete one;
    ``gaps`` says what is missing, for people.
    """

    kind: Literal["redacted", "recovered", "imported"]
    log: DigestField | None = None
    gaps: tuple[str, ...] = ()


class StageLog(Record):
    """The manifest; its canonical bytes' SHA-256 is the log's identity."""

    schema_: Annotated[Literal["stageaudit.stagelog.v1"], Field(alias="schema")] = STAGELOG_SCHEMA
    minor: Annotated[int, Field(ge=0)] = 0
    run: Run
    parameters: dict[Name, ParameterInfo]
    graphs: dict[Name, Graph]
    datasets: dict[Name, Dataset]
    start: Checkpoint
    stages: tuple[Stage, ...]
    origin: Origin | None = None
    external: dict[DigestField, External] | None = None

    def boundary(self, index: int) -> Checkpoint:
        """Return boundary checkpoint ``index``: 0 is ``start``, t + 1 is the end of stage t."""
        return self.start if index == 0 else self.stages[index - 1].checkpoints[-1]

    @property
    def level(self) -> int:
        """What the log can answer: 0 boundaries, 1 + schedules and states, 2 + every batch."""
        states = all(self.boundary(i).optimizer is not None for i in range(len(self.stages) + 1))
        if not states or any(stage.schedule is None for stage in self.stages):
            return 0
        complete = all(stage.batches is not None for stage in self.stages) and all(
            self.datasets[name].coverage.kind == "full"
            for stage in self.stages
            for name in stage.datasets
        )
        return 2 if complete else 1

    def blobs(self) -> tuple[str, ...]:
        """Return the digests of all blobs the manifest names, in a fixed order, once each."""
        found: dict[str, None] = {}

        def note(digest: str | None) -> None:
            if digest is not None:
                found[digest] = None

        for graph in self.graphs.values():
            note(graph.onnx)
        for dataset in self.datasets.values():
            for shard in dataset.shards:
                note(shard.digest)
            note(dataset.coverage.hashes)
        for checkpoint in (self.start, *(c for s in self.stages for c in s.checkpoints)):
            for digest in checkpoint.values:
                note(digest)
            note(checkpoint.optimizer)
        for stage in self.stages:
            note(stage.transition.added_values)
            note(stage.schedule)
            note(stage.batches)
            note(stage.loss.graph)
        return tuple(found)
