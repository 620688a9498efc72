"""One stage while it trains: declared batches, hooks on the optimizer, checkpoints."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer as TorchOptimizer

from auditor.errors import StageLogError, UnsupportedError
from auditor.record.average import after_update, average_values, refuse_equal, require_released
from auditor.record.checkpoints import StoredState, write_state
from auditor.record.datasets import Capture, DatasetHandle
from auditor.record.facts import ForwardFacts, forward_facts
from auditor.record.masks import masks_of
from auditor.record.optimizers import copy_slots, describe_optimizer
from auditor.record.positions import Indices, Weights, declared_row
from auditor.record.scaler import LossScaler, ScalerWatch
from auditor.record.snapshot import (
    Snapshot,
    copy_state,
    describe_state,
    holders_of,
    parameter_names,
)
from auditor.record.stage_journal import StageJournal
from auditor.record.stage_settings import StageSettings
from auditor.record.steps import StepTable, weighs_microbatches
from auditor.record.writer import BackgroundWriter
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.log import (
    Checkpoint,
    CheckpointRole,
    StageLog,
)
from auditor.stagelog.rules_stages import WITNESS_STEPS
from auditor.stagelog.unsupported import refuse_loss, refuse_optimizer

NOTED_STEPS = 64
"""Steps are noted in the journal this often, and whenever a checkpoint is kept."""


@final
@dataclass(kw_only=True)
class StageRecorder:
    """Records a stage; made by :meth:`auditor.record.recorder.Recorder.stage`.

    Declare what each step uses with :meth:`batch` or :meth:`batch_tensors`, then call
    ``optimizer.step()`` as usual.
    """

    settings: StageSettings
    model: nn.Module
    optimizer: TorchOptimizer
    first_step: int
    datasets: Mapping[str, DatasetHandle]
    capture: Capture
    export: Callable[[tuple[Tensor, ...]], bytes]
    example_inputs: tuple[Tensor, ...] | None
    average: nn.Module | None
    scaler: LossScaler | None
    blobs: BlobStore
    writer: BackgroundWriter
    journal: StageJournal
    draft: Callable[["StageRecorder"], StageLog]
    stored: StoredState | None
    graph: bytes | None = None
    facts: ForwardFacts = field(default_factory=ForwardFacts)
    used: dict[str, None] = field(default_factory=dict)
    kept: list[Checkpoint] = field(default_factory=list)
    _completed: int = 0
    _noted: int = 0
    _forward_since: bool = False
    _removers: list[Callable[[], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.arithmetic = describe_optimizer(self.optimizer)
        refuse_equal(self.average, stage=self.settings.name)
        self._watch = ScalerWatch(scaler=self.scaler)
        self.masks = masks_of(self.model, stage=self.settings.name)
        if self.settings.self_check == "replay":
            # Now, not when the stage closes after hours of training.
            where = f"stage {self.settings.name!r}"
            refuse_optimizer(self.arithmetic, where=f"{where}: optimizer")
            refuse_loss(self.settings.loss, where=f"{where}: loss")
        self.table = StepTable(
            stage=self.settings.name,
            first_step=self.first_step,
            kind=self.arithmetic.kind,
            names=parameter_names(self.model),
            accumulation=self.settings.accumulation,
            mean=weighs_microbatches(self.settings.loss, self.settings.accumulated),
        )

    def open(self) -> None:
        """Begin to listen to the optimizer and the model."""
        if self.example_inputs is not None:
            self.graph = self.export(self.example_inputs)
        self._removers = [
            self.optimizer.register_step_pre_hook(self._before_step).remove,
            self.optimizer.register_step_post_hook(self._after_step).remove,
            self.model.register_forward_pre_hook(self._at_forward, with_kwargs=True).remove,
            self.model.register_forward_hook(self._after_forward).remove,
            self.masks.close,
        ]
        self.masks.open()

    def close(self) -> None:
        """Stop listening; harmless when repeated."""
        while self._removers:
            self._removers.pop()()

    def batch(
        self,
        dataset: DatasetHandle,
        indices: Indices,
        weights: Weights | None = None,
        *,
        microbatch: int | None = None,
    ) -> None:
        """Declare examples of the next step, by their positions in a dataset.

        Several calls before a step are its microbatches when ``accumulation`` was declared, and
        the parts of one mixed batch otherwise.

        Args:
            dataset: What :meth:`Recorder.dataset` returned.
            indices: Positions, [n]; the order does not matter.
            weights: Factors of the examples' losses in the step's sum, [n]; 1 by default.
            microbatch: Which microbatch; by default each call is the next one.

        Raises:
            StageLogError: If positions or weights do not fit the dataset, or the batch cannot
                belong to the next step.
        """
        if self.datasets.get(dataset.name) is not dataset:
            raise StageLogError(
                self.table.where,
                expected="a dataset of this recorder",
                found=dataset.name,
                remedy="Pass what recorder.dataset(name, columns) returned.",
            )
        if self.graph is None:
            columns = self.settings.bindings.inputs.values()
            self._require_columns(dataset.sample, dataset.name)
            self.graph = self.export(self._seen(dataset.sample[column] for column in columns))
        self._declare(dataset.name, indices, weights, examples=dataset.examples, part=microbatch)

    def batch_tensors(
        self,
        columns: Mapping[str, Tensor],
        weights: Weights | None = None,
        *,
        microbatch: int | None = None,
    ) -> None:
        """Declare the examples of the next step by the tensors that the model saw.

        They are copied into a dataset of the log, so that augmentation becomes part of the data.

        Args:
            columns: Every bound column and any other, such as ``source``: [n, ...].
            weights: Factors of the examples' losses in the step's sum, [n]; 1 by default.
            microbatch: Which microbatch; by default each call is the next one.
        """
        self._require_columns(columns, self.capture.name)
        if self.graph is None:
            bound = self.settings.bindings.inputs.values()
            self.graph = self.export(self._seen(columns[column][:2] for column in bound))
        indices = np.array(self.capture.append(columns), dtype=np.int64)
        self._declare(
            self.capture.name, indices, weights, examples=self.capture.examples, part=microbatch
        )

    def denominator(self, value: float) -> None:
        """Declare what the sum of the next step's losses is divided by, where that is no mean.

        A constant number of tokens, for instance; for a mean over the examples or tokens of the
        step nothing needs to be declared. Declare it for every step of a stage, or for none.

        Args:
            value: Above 0. The loss's reduction does not count then.
        """
        self.table.declare_denominator(value)

    def skip_step(self) -> None:
        """Declare that the update of the declared batch did not take place.

        For a gradient scaler that met infinity and was not passed as ``scaler``:
        ``optimizer.step()`` was not executed, parameters and optimizer are as before, and the batch
        is no part of the recorded steps.

        Raises:
            UnsupportedError: If its forward pass moved running statistics all the same.
        """
        if self.facts.batch_norm == "batch" and self.settings.self_check == "replay":
            raise UnsupportedError(
                self.table.where,
                expected="no skipped step in a stage whose batch norm is in train mode",
                found="one, whose forward pass moved running statistics",
                remedy="Start the scaler where nothing overflows, such as "
                "GradScaler(init_scale=1024.0), or train under autocast in bfloat16.",
            )
        self.table.skip()
        self.masks.restart()

    def settle_refused(self) -> None:
        """Drop a declared batch that the scaler has refused to step on."""
        if self.table.pending and self._watch.has_refused():
            self.skip_step()

    def snapshot(self) -> Snapshot:
        """Return the training state as it is now."""
        return Snapshot(
            infos=describe_state(self.model),
            tensors=copy_state(self.model),
            holders=holders_of(self.model),
            slots=copy_slots(self.optimizer, self.table.names, kind=self.arithmetic.kind),
        )

    def _with_average(self, state: Snapshot) -> Snapshot:
        """Return a state right after a step with the average as the loop is about to update it."""
        decay = self.settings.ema_decay
        if self.average is None or decay is None:
            return state
        starts = self.settings.ema_from == "first_step" and len(self.table.rows) == 1
        slots = after_update(
            average_values(self.average, self.model, stage=self.settings.name),
            state.tensors,
            kept=0.0 if starts else decay,
        )
        return replace(state, slots={**state.slots, **slots})

    def require_released(self, end: Snapshot) -> None:
        """Refuse the end of a stage whose model is not the average that it declared.

        Raises:
            StageLogError: If it is another, or only one of ``ema`` and ``ema_decay`` was declared.
        """
        name = self.settings.name
        if (self.average is None) != (self.settings.ema_decay is None):
            raise StageLogError(
                f"stage {name!r}",
                expected="both of ema and ema_decay, or none",
                found="one",
                remedy="Pass the averaged module and its decay.",
            )
        if self.average is not None:
            average = average_values(self.average, self.model, stage=name)
            require_released(average, end.tensors, stage=name)

    def flush(self) -> None:
        """Wait until every checkpoint so far is durable: a crash cannot lose it any more.

        Raises:
            ResourceError: If the disk is full.
            UnavailableError: If a blob cannot be written.
        """
        self.capture.flush()
        self.writer.drain()

    def rescue(self) -> None:
        """Keep the state after the last whole step, for ``stageaudit log recover``.

        Does nothing where that state is gone: inside a step, or when a forward pass has moved
        running statistics since.
        """
        step = self.table.next_step
        moved = self._forward_since and self.facts.batch_norm == "batch"
        # Whether the average was updated since the step is not known here.
        whole = self._completed == len(self.table.rows) > 0 and self.average is None
        if whole and not moved and step not in [kept.step for kept in self.kept]:
            self._keep(step, CheckpointRole.CADENCE)

    def _note_steps(self, end: int) -> None:
        """Write the steps up to a position to the journal, where that has not been done."""
        for position in range(self._noted, end):
            self.journal.step(
                self.first_step + position,
                self.table.rows[position],
                self.table.trained_numbers(position),
                denominator=self.table.denominators[position],
                scale=self.table.scales[position],
                skipped_before=self.table.skipped.count(self.first_step + position),
            )
        self._noted = max(self._noted, end)

    def _keep(self, step: int, role: CheckpointRole) -> None:
        """Copy the state now and write it soon."""
        state = self._with_average(self.snapshot())
        self.capture.flush()

        def write() -> None:
            self._note_steps(step - self.first_step)
            written = write_state(step, role, state, blobs=self.blobs, before=self.stored)
            for checkpoint in written.as_checkpoints:
                self.kept.append(checkpoint)
                self.journal.checkpoint(checkpoint)

        self.writer.submit(write)

    def _declare(
        self,
        dataset: str,
        indices: Indices,
        weights: Weights | None,
        *,
        examples: int,
        part: int | None,
    ) -> None:
        row = declared_row(dataset, indices, weights, examples=examples, where=self.table.where)
        self.settle_refused()
        if not self.table.pending:
            self._watch.batch_declared()
        self.table.declare(row, microbatch=part)
        self.used[dataset] = None

    def _seen(self, columns: Iterable[Tensor]) -> tuple[Tensor, ...]:
        """Return what the model sees of some examples: the texts of a pair are two."""
        pairs = self.settings.loss.kind == "dpo"
        return tuple(column.flatten(0, 1) if pairs else column for column in columns)

    def _require_columns(self, columns: Mapping[str, Any], dataset: str) -> None:
        bindings = self.settings.bindings
        bound = {*bindings.inputs.values(), bindings.target, bindings.weight, bindings.mask}
        missing = sorted(name for name in bound - {None} if name and name not in columns)
        if missing:
            raise StageLogError(
                f"stage {self.settings.name!r}",
                expected=f"the bound columns in {dataset!r}",
                found=f"no {', '.join(missing)}",
                remedy="Record these columns, or bind others.",
            )

    def _at_forward(
        self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]
    ) -> None:
        self._forward_since = True
        self.settle_refused()
        step = len(self.table.rows)
        self.masks.before_forward((*inputs, *named.values()), step=step)
        # The first forward pass that will be differentiated shows the modes of training.
        if torch.is_grad_enabled() and not self.table.rows:
            self.facts = forward_facts(module)
            self._refuse_obstacles()
            if self.facts.dropout and self.settings.self_check == "replay":
                raise UnsupportedError(
                    f"stage {self.settings.name!r}",
                    expected="a model without active dropout",
                    found=f"rates {self.facts.dropout}",
                    remedy="Record the model that with_recorded_dropout(model) returns, or set the "
                    "rates to 0. "
                    'Pass self_check="off" to record the stage all the same.',
                )

    def _after_forward(self, *_: object) -> None:
        self.masks.after_forward()

    def _refuse_obstacles(self) -> None:
        for found, remedy in self.facts.obstacles if self.settings.self_check == "replay" else ():
            raise UnsupportedError(
                f"stage {self.settings.name!r}",
                expected="a model whose training a replay can follow",
                found=found,
                remedy=remedy,
            )

    def _before_step(
        self, optimizer: TorchOptimizer, arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> None:
        if [a for a in (*arguments[1:], *options.values()) if a is not None]:
            raise UnsupportedError(
                self.table.where,
                expected="optimizer.step() without a closure",
                found="a closure",
                remedy="Compute the gradients before the step.",
            )
        self.table.begin_step(optimizer, scale=self._watch.scale)

    def _after_step(self, *_: object) -> None:
        self.writer.require_sound()  # a full disk is told now, not when the stage closes
        self.masks.restart()
        done, step = len(self.table.rows), self.table.next_step
        self._completed, self._forward_since = done, False
        if done == 1 and self.journal.listens:
            self.journal.begin(self.draft(self))
        if done % NOTED_STEPS == 0:
            self.writer.offer(lambda: self._note_steps(done))
        if done == WITNESS_STEPS:
            self._keep(step, CheckpointRole.WITNESS)
        elif self.settings.cadence_steps and done % self.settings.cadence_steps == 0:
            self._keep(step, CheckpointRole.CADENCE)
