"""A recorded run, read lazily from blobs: what step maps, batches and states are made of."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any, TypeVar, final

from torch import Tensor

from auditor.dynamics.averaging import started
from auditor.dynamics.computations import Computations, ModelOf, graph_computations
from auditor.dynamics.groups import GroupSpan, group_spans, grouped_layout
from auditor.dynamics.hyperparameters import Hyperparameters, stage_hyperparameters
from auditor.dynamics.prepared import Keeper, Prepared
from auditor.dynamics.state import AVERAGE, AVERAGED, TrainingState, recorded_state
from auditor.dynamics.tables import Table, read_table
from auditor.dynamics.transitions import TransitionMap
from auditor.errors import InputError, PreconditionError
from auditor.model.layout import ParameterLayout
from auditor.model.objective import Objective
from auditor.model.preferences import REFERENCE
from auditor.model.tensors import read_tensors, write_tensors
from auditor.plan.geometry import step_digest
from auditor.stagelog.batches import Batches, read_batches
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.digest import Digest, parse_digest, sha256
from auditor.stagelog.evaluation import parse_evaluation_set
from auditor.stagelog.log import Checkpoint, Stage, StageLog
from auditor.stagelog.rules_parameters import present_after
from auditor.stagelog.schedule import Schedule, read_schedule

Value = TypeVar("Value")


@final
class Run:
    """The recorded run behind a stage log; everything is read when first asked for, and kept.

    Stages are counted from 0; boundary i lies before stage i, boundary T at the end. Tensors are
    on ``device`` and in the dtype they were recorded in.

    Args:
        log: The manifest.
        log_digest: Its digest, which keys every draw.
        blobs: Where its blobs are.
        device: Device of all tensors.
        model_of: How a stage's computations are made; its recorded ONNX graph by default.
        prepared: Graphs and traces that runs share; by default the run has its own.
    """

    def __init__(
        self,
        log: StageLog,
        log_digest: Digest,
        blobs: BlobStore,
        *,
        device: str = "cpu",
        model_of: ModelOf | None = None,
        prepared: Keeper | None = None,
    ) -> None:
        self.log = log
        self.log_digest = log_digest
        self.blobs = blobs
        self.device = device
        self.prepared: Keeper = prepared or Prepared()
        self._model_of = model_of or graph_computations
        self._kept: dict[Hashable, Any] = {}

    def keep(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return ``make()``, computed once per key."""
        if key not in self._kept:
            self._kept[key] = make()
        value: Value = self._kept[key]
        return value

    def keeps(self, key: Hashable) -> bool:
        """Say whether the value of a key was computed."""
        return key in self._kept

    @property
    def kept(self) -> Mapping[Hashable, object]:
        """What was computed once so far, by key."""
        return MappingProxyType(self._kept)

    def read(self, digest: str, *, where: str) -> memoryview:
        """Return a blob by the digest that the manifest gives."""
        return self.blobs.read(parse_digest(digest, where=where))

    def stage_index(self, name: str) -> int:
        """Return the position of a stage.

        Raises:
            InputError: If no stage has this name.
        """
        for index, stage in enumerate(self.log.stages):
            if stage.name == name:
                return index
        raise InputError(
            "stage",
            expected="one of " + ", ".join(stage.name for stage in self.log.stages),
            found=name,
            remedy="Use a stage's name as recorded.",
        )

    # Layouts: which parameters exist when, and where they lie in theta.

    @cached_property
    def alive(self) -> tuple[frozenset[str], ...]:
        """Names of parameters and buffers at every boundary; index 0 is before R_0."""
        return tuple(present_after(self.log, i) for i in range(-1, len(self.log.stages)))

    def layout(self, stage: int) -> ParameterLayout:
        """Return the layout of a stage's states: its groups one after the other, then the rest."""
        return self.keep(
            ("layout", stage),
            lambda: grouped_layout(
                self.log.parameters,
                self.log.stages[stage].groups,
                alive=set(self.alive[stage + 1]),
            ),
        )

    def boundary_layout(self, boundary: int) -> ParameterLayout:
        """Return the layout of the states at a boundary: that of the stage that ends there."""
        if boundary > 0:
            return self.layout(boundary - 1)
        groups = self.log.stages[0].groups if self.log.stages else ()
        return grouped_layout(self.log.parameters, groups, alive=set(self.alive[0]))

    def spans(self, stage: int) -> tuple[GroupSpan, ...]:
        """Return where a stage's groups, and last its frozen parameters, lie in theta."""
        return self.keep(
            ("spans", stage),
            lambda: group_spans(self.layout(stage), self.log.stages[stage].groups),
        )

    # States.

    def boundary(self, index: int) -> TrainingState:
        """Return the recorded state at boundary ``index``, in ``boundary_layout(index)``."""
        return self.keep(
            ("boundary", index),
            lambda: self.recorded(self.log.boundary(index), boundary=index),
        )

    def recorded(self, checkpoint: Checkpoint, *, boundary: int) -> TrainingState:
        """Return the state of a checkpoint of the stage that ends at ``boundary``."""
        where = f"checkpoint at step {checkpoint.step}"
        optimizer = self._tensors(checkpoint.optimizer, where=where) if checkpoint.optimizer else {}
        state = recorded_state(
            self.values(checkpoint, names=self.alive[boundary], where=where),
            optimizer,
            layout=self.boundary_layout(boundary),
            buffer_names=self._buffer_names & self.alive[boundary],
        )
        if not boundary or checkpoint.optimizer is None:
            return state
        return self._with_facts(state, stage=boundary - 1)

    def _with_facts(self, state: TrainingState, *, stage: int) -> TrainingState:
        """Return a recorded state of a stage with its reference and its average."""
        own, slots = self.log.stages[stage], dict(state.slots)
        if own.loss.reference is not None:
            slots[REFERENCE] = self.recorded_reference(stage)
        if own.ema_decay is not None:
            # At the stage's end the parameters are the average.
            slots.setdefault(AVERAGE, state.theta)
            slots[AVERAGED] = state.theta.new_ones(len(self.layout(stage).names))
        return replace(state, slots=slots)

    def recorded_reference(self, stage: int) -> Tensor:
        """Return the parameters from which a stage of preferences started, [P]."""
        return self.keep(
            ("reference", stage),
            lambda: self.transition(stage)(self.boundary(stage)).slots[REFERENCE],
        )

    def final_tensors(self) -> dict[str, Tensor]:
        """Return the parameters and buffers of the final checkpoint by name, ties once."""
        final = self.log.boundary(len(self.log.stages))
        return self.values(final, names=self.alive[-1], where="final checkpoint")

    def values(
        self, checkpoint: Checkpoint, *, names: frozenset[str], where: str
    ) -> dict[str, Tensor]:
        """Return a checkpoint's parameters and buffers, also those that an earlier one holds."""
        found: dict[str, Tensor] = {}
        for digest in checkpoint.values:
            found |= self._tensors(digest, where=where)
        return {name: tensor for name, tensor in found.items() if name in names}

    def constants(self, stage: int) -> dict[str, Tensor]:
        """Return the buffers of a stage that are not floating point, which nothing changes."""
        where = f"stages[{stage}].checkpoints"
        names = {
            name
            for name in self._buffer_names & self.alive[stage + 1]
            if "float" not in self.log.parameters[name].dtype
        }

        def make() -> dict[str, Tensor]:
            checkpoint = self.log.boundary(stage + 1)
            return self.values(checkpoint, names=frozenset(names), where=where) if names else {}

        return self.keep(("constants", stage), make)

    @cached_property
    def _buffer_names(self) -> frozenset[str]:
        return frozenset(n for n, info in self.log.parameters.items() if info.kind == "buffer")

    def _tensors(self, digest: str, *, where: str) -> dict[str, Tensor]:
        tensors = read_tensors(self.read(digest, where=where), where=where)
        return {name: tensor.to(self.device) for name, tensor in tensors.items()}

    def added_values(self, stage: int) -> dict[str, Tensor]:
        """Return the recorded initial values of what a stage's transition adds."""
        digest = self.log.stages[stage].transition.added_values
        where = f"stages[{stage}].transition.added_values"
        if digest is None:
            return {}
        return self.keep(where, lambda: self._tensors(digest, where=where))

    def transition(self, stage: int) -> TransitionMap:
        """Return R_t of a stage.

        Raises:
            PreconditionError: If it keeps an optimizer state that was not recorded.
        """
        where = f"stages[{stage}]"
        transition = self.log.stages[stage].transition
        if transition.optimizer == "keep" and self.log.boundary(stage).optimizer is None:
            raise PreconditionError(
                f"{where}.transition.optimizer",
                expected="a recorded optimizer state at the boundary before it",
                found="none",
                remedy="Record optimizer states, or use checkpoint_delta or task_vector.",
            )
        return self.keep(("transition", stage), lambda: self._transition(stage))

    def _transition(self, stage: int) -> TransitionMap:
        own = self.log.stages[stage]
        plain = TransitionMap(
            transition=own.transition,
            before=self.boundary_layout(stage),
            after=self.layout(stage),
            added=self.added_values(stage),
            slots=self._slots(stage),
            where=f"stages[{stage}]",
            start=partial(started, stage=own, tensors=len(self.layout(stage).names)),
        )
        if own.loss.reference == "fixed":
            return replace(plain, reference=plain(self.boundary(stage)).theta)
        return replace(plain, reference=own.loss.reference)

    def _slots(self, stage: int) -> tuple[str, ...]:
        """Return what the stage's optimizer remembers; nothing where no step can be replayed."""
        if self.log.stages[stage].schedule is None:
            return ()
        return self.hyperparameters(stage).slots

    # What a stage's steps are made of.

    def computations(self, stage: int) -> Computations:
        """Return a stage's model; stages with the same graph, bindings and groups share one."""
        own = self.log.stages[stage]
        bindings = (own.bindings.model_dump_json(), own.loss.model_dump_json())
        # Clipping is the step's, not the loss's, but what is kept of a step goes by its loss.
        facts = (own.precision, own.loss_denominator, own.clipping, own.ema_decay)
        key = (
            "computations",
            own.graph,
            *bindings,
            self.layout(stage),
            self.alive[stage + 1],
            facts,
        )
        return self.keep(key, lambda: self._model_of(self, stage))

    def step_identity(self, stage: int) -> Hashable:
        """Return what a stage's traced steps depend on: equal for runs that may share them.

        Besides what the manifest says these are the buffers that are closed over as constants.
        """

        def make() -> Hashable:
            constants = sha256(write_tensors(self.constants(stage)))
            return (step_digest(self.log, stage), constants, self.device, self._model_of)

        return self.keep(("step identity", stage), make)

    def objective(self, stage: int) -> Objective:
        """Return the stage's loss."""
        return self.computations(stage).objective

    def schedule(self, stage: int) -> Schedule:
        """Return a stage's schedule.

        Raises:
            PreconditionError: If it was not recorded.
        """
        where = f"stages[{stage}].schedule"
        digest = self._required(self.log.stages[stage], "schedule", where=where)
        return self.keep(where, lambda: read_schedule(self.read(digest, where=where), where=where))

    def hyperparameters(self, stage: int) -> Hyperparameters:
        """Return a stage's schedule as tensors."""
        return self.keep(
            ("hyperparameters", stage),
            lambda: stage_hyperparameters(
                self.log.stages[stage],
                self.schedule(stage),
                like=self.boundary(stage).theta,
                where=f"stages[{stage}]",
            ),
        )

    def batches(self, stage: int) -> Batches:
        """Return the batches of a stage.

        Raises:
            PreconditionError: If they were not recorded.
        """
        where = f"stages[{stage}].batches"
        digest = self._required(self.log.stages[stage], "batches", where=where)
        return self.keep(where, lambda: read_batches(self.read(digest, where=where), where=where))

    def _required(self, stage: Stage, part: str, *, where: str) -> str:
        digest = stage.schedule if part == "schedule" else stage.batches
        if digest is None:
            raise PreconditionError(
                where,
                expected="a recorded blob",
                found="none",
                remedy="Record the stage completely, or use an estimator that needs less.",
            )
        return digest

    # Examples.

    def table(self, dataset: str) -> Table:
        """Return a dataset of the log."""
        return self.keep(
            ("table", dataset),
            lambda: read_table(
                self.log.datasets[dataset],
                self.blobs,
                name=f"datasets[{dataset}]",
                device=self.device,
            ),
        )

    def columns(self, dataset: str) -> Mapping[str, Tensor]:
        """Return the columns of a dataset of the log, [examples, *shape] each."""
        return self.table(dataset).columns

    def evaluation_set(self, digest: str) -> Table:
        """Return an evaluation set by its manifest's digest."""
        name = f"evaluation set {digest[:12]}"

        def make() -> Table:
            manifest = parse_evaluation_set(self.read(digest, where=name))
            return read_table(manifest.dataset, self.blobs, name=name, device=self.device)

        return self.keep(("evaluation set", digest), make)
