"""Record a staged training from any torch loop: ``Recorder`` and its stages."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Literal, final

import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer as TorchOptimizer

from auditor.edge.clock import Clock, SystemClock
from auditor.errors import AuditorError, ResourceError, StageLogError, UnavailableError
from auditor.record.assemble import LogParts
from auditor.record.checkpoints import with_frozen
from auditor.record.datasets import SAMPLE_ROWS, Capture, DatasetHandle
from auditor.record.encodings import Declared, declared_preprocessing, declared_tokenizer
from auditor.record.estimate import state_size
from auditor.record.evalset import ColumnValues, describe_column, write_dataset
from auditor.record.export import export_graph
from auditor.record.frozen_base import FrozenBase, read_frozen_base
from auditor.record.graphs import Exporter
from auditor.record.masks import sites_in_graph
from auditor.record.optimizers import copy_slots, describe_optimizer
from auditor.record.preprocessing import Preprocessing
from auditor.record.run_facts import device_of, hardware_of, own_version
from auditor.record.scaler import LossScaler
from auditor.record.self_check import require_reproducible
from auditor.record.sink import FolderSink, JournalingSink, LogSink
from auditor.record.snapshot import (
    Snapshot,
    copy_state,
    describe_state,
    holders_of,
    parameter_names,
)
from auditor.record.stage import StageRecorder
from auditor.record.stage_journal import StageJournal
from auditor.record.stage_settings import SelfCheck, StageSettings
from auditor.record.transition import StateChange, state_change
from auditor.record.writer import BackgroundWriter
from auditor.stagelog.digest import Digest
from auditor.stagelog.log import Bindings, Clipping, Loss, Run, StageKind, StageLog
from auditor.stagelog.reduction import declared_loss
from auditor.stagelog.size import LogEstimate, StagePlan, estimate_size
from auditor.stagelog.strict_json import refusal


@final
class Recorder:
    """Writes the stage log of a run; nothing but the optimizer's steps is wrapped.

    The log is complete after every stage. Of a stage that a crash cuts off, ``stageaudit log
    recover`` keeps what led to its last checkpoint.

    Args:
        destination: A folder for the log, or another sink.
        model: The model that is trained, without wrappers such as DistributedDataParallel.
        run_name: What reports call the run.
        labels: Free facts about the run.
        source_revision: Revision of the training code.
        clock: Where the time comes from.
        export: What turns the model into a graph.
        frozen_base: A file of parameters that others have too: the log names it instead of holding
            them, and it is supplied when the log is checked or audited.
    """

    def __init__(
        self,
        destination: Path | str | LogSink,
        model: nn.Module,
        *,
        run_name: str,
        labels: Mapping[str, str] | None = None,
        source_revision: str | None = None,
        clock: Clock | None = None,
        export: Exporter = export_graph,
        frozen_base: FrozenBase | None = None,
    ) -> None:
        self._sink: LogSink = (
            FolderSink(Path(destination)) if isinstance(destination, Path | str) else destination
        )
        self._model = model
        self._export = export
        self._handles: dict[str, DatasetHandle] = {}
        self._failed: str | None = None
        self._open: str | None = None
        self._last: Snapshot | None = None
        self._journal: StageJournal | None = None
        created = (clock or SystemClock()).now()
        with _declared("run"):
            run = Run(
                name=run_name,
                created=created.isoformat(timespec="seconds"),
                recorder=f"stageaudit {own_version()}",
                framework=f"torch {torch.__version__}",
                source_revision=source_revision,
                hardware=hardware_of(model),
                labels=dict(labels or {}),
            )
        self._parts = LogParts(blobs=self._sink.blobs, run=run)
        self._named: dict[Digest, memoryview] = {}
        if frozen_base is not None:
            base = read_frozen_base(frozen_base, model)
            self._parts.base, self._parts.external = base.stored, {base.digest: base.entry}
            self._named[base.digest] = base.data

    @property
    def log(self) -> StageLog:
        """The log up to the last finished stage.

        Raises:
            StageLogError: If no stage is finished.
        """
        return self._parts.log()

    def dataset(self, name: str, columns: Mapping[str, ColumnValues]) -> DatasetHandle:
        """Return a handle for ``stage.batch``; the examples are written now.

        Args:
            name: Name in the log.
            columns: Values by column, the same number of examples in each. Text columns such as
                ``source`` are what an audit selects by.

        Raises:
            StageLogError: If the log has a dataset of this name.
        """
        if name in self._parts.datasets:
            raise StageLogError(
                f"dataset {name!r}",
                expected="a name that no other dataset has",
                found="a second dataset",
                remedy="Record each dataset once and keep the handle.",
            )
        dataset = write_dataset(columns, self._sink.blobs)
        self._parts.datasets[name] = dataset
        if self._journal is not None:
            self._journal.dataset(name, dataset)
        sample = {c: describe_column(c, v)[0][:SAMPLE_ROWS].clone() for c, v in columns.items()}
        self._handles[name] = DatasetHandle(name=name, examples=dataset.examples, sample=sample)
        return self._handles[name]

    def estimate(
        self, stages: Sequence[StagePlan], *, seconds_per_step: float | None = None
    ) -> LogEstimate:
        """Return what recording a plan will cost: bytes, memory, and time.

        Args:
            stages: The stages, in order; parameters that need no gradient now count as frozen.
            seconds_per_step: Of the training, measured, for the time that a check takes.
        """
        return estimate_size(state_size(self._model), stages, seconds_per_step=seconds_per_step)

    @contextmanager
    def stage(  # noqa: PLR0913 - one keyword for each thing a stage declares
        self,
        name: str,
        *,
        optimizer: TorchOptimizer,
        loss: Loss | str,
        inputs: Mapping[str, str],
        target: str,
        kind: StageKind | str = StageKind.OTHER,
        weight: str | None = None,
        output: int = 0,
        example_inputs: tuple[Tensor, ...] | None = None,
        accumulation: int = 1,
        accumulated: Literal["microbatches", "step"] = "microbatches",
        ema: nn.Module | None = None,
        ema_decay: float | None = None,
        ema_from: Literal["stage_start", "first_step"] = "stage_start",
        clipping: Clipping | None = None,
        scaler: LossScaler | None = None,
        augmentation: Literal["none", "not_recorded"] = "none",
        precision: str | None = None,
        cadence_steps: int | None = None,
        self_check: SelfCheck = "replay",
        generated_by: str | None = None,
        tokenizer: Declared = None,
        preprocessing: Declared | Preprocessing = None,
    ) -> Iterator[StageRecorder]:
        """Record the optimizer's steps inside the ``with`` block as one stage.

        Args:
            name: Name in the log and in reports.
            optimizer: SGD, Adam or AdamW; its ``step()`` is what is recorded.
            loss: A kind, or the whole description; a kind alone is the mean over the step's
                examples, for ``causal_lm`` over its tokens, for ``dpo`` against the model that the
                stage started from.
            inputs: Name of each argument of ``model.forward``, in order, and its column.
            target: Column of the loss's target.
            kind: What the stage is for.
            weight: Column of per-example weights of the loss.
            output: Which output of the model the loss takes.
            example_inputs: Inputs for exporting the graph; by default rows of the first batch.
            accumulation: Backward passes before a step.
            accumulated: How a mean loss is accumulated: ``microbatches`` when the mean loss of each
                is divided by ``accumulation``; ``step`` when the sum over all of them is divided
                by the examples, or tokens, of the whole step.
            ema: A model of the same parameters that holds their moving average, updated after each
                step; before the block ends the loop copies it into ``model``.
            ema_decay: Part of the average that a step keeps.
            ema_from: Whether the average starts with the parameters at the stage's start, or with
                those after its first step, as ``torch.optim.swa_utils.AveragedModel`` does.
            clipping: Gradient clipping before the step.
            scaler: The ``torch.amp.GradScaler`` that takes the steps: its scales are recorded, and
                a batch whose step it refuses is left out.
            augmentation: ``not_recorded`` when the model saw other tensors than the columns hold.
            precision: The parameters' by default.
            cadence_steps: Keep a checkpoint every so many steps.
            self_check: ``replay`` replays the first steps through the exported graph when the
                stage closes, and refuses to close it when they differ from what happened.
            generated_by: The model or stage that generated the stage's data.
            tokenizer: Folder with the ``tokenizer.json`` that made the columns from texts, or its
                digest; evaluation data made with another one is then refused.
            preprocessing: How the columns were made from images: the declaration, a folder that
                has it, or its digest.

        Yields:
            What the loop declares its batches to.

        Raises:
            StageLogError: If batches and steps do not match, or the self-check fails.
            UnsupportedError: If the stage uses what a log cannot hold or an audit not treat.
        """
        self._require_ready(name)
        with _declared(f"stage {name!r}"):
            settings = StageSettings(
                name=name,
                kind=StageKind(kind),
                bindings=Bindings(inputs=dict(inputs), target=target, weight=weight, output=output),
                loss=declared_loss(loss) if isinstance(loss, str) else loss,
                accumulation=accumulation,
                accumulated=accumulated,
                ema_decay=ema_decay,
                ema_from=ema_from,
                clipping=clipping,
                augmentation=augmentation,
                precision=precision,
                cadence_steps=cadence_steps,
                self_check=self_check,
                generated_by=generated_by,
                tokenizer=declared_tokenizer(tokenizer),
                preprocessing=declared_preprocessing(preprocessing),
            )
        stage: StageRecorder | None = None
        finishing = False
        self._open = name
        try:
            before, now = self._last, self._snapshot(optimizer)
            change = state_change(before or now, now, stage=name)
            self._parts.begin(now)
            self._parts.stored = with_frozen(
                self._parts.stored, now, frozen=_frozen(self._model), blobs=self._sink.blobs
            )
            writer = BackgroundWriter()
            journal = self._journal = StageJournal(
                self._sink.journal() if isinstance(self._sink, JournalingSink) else None
            )
            stage = StageRecorder(
                settings=settings,
                model=self._model,
                optimizer=optimizer,
                first_step=self._parts.next_step,
                datasets=self._handles,
                capture=Capture(
                    name=f"{name}-captured",
                    blobs=self._sink.blobs,
                    submit=writer.submit,
                    on_shard=journal.shard,
                ),
                blobs=self._sink.blobs,
                writer=writer,
                journal=journal,
                stored=self._parts.stored,
                draft=lambda own: self._parts.draft(own, change=change, infos=now.infos),
                export=partial(self._graph, input_names=tuple(inputs)),
                example_inputs=example_inputs,
                average=ema,
                scaler=scaler,
            )
            stage.open()
            yield stage
            stage.settle_refused()
            stage.close()
            finishing = True
            self._finish(stage, change=change)
        except BaseException as error:
            # Steps that the log does not hold were taken: it cannot go on from here.
            self._failed = name if stage is not None and stage.table.rows else None
            if stage is not None:
                _abandon(stage, error, finishing=finishing)
            raise
        finally:
            self._open = self._journal = None
            if stage is not None:
                stage.close()

    def _finish(self, stage: StageRecorder, *, change: StateChange) -> None:
        stage.writer.drain()
        end = stage.snapshot()
        stage.require_released(end)
        with _declared(f"stage {stage.settings.name!r}"):
            log = self._parts.with_stage(stage, change=change, end=end)
        stage.journal.checkpoint(log.stages[-1].checkpoints[-1])
        if stage.settings.self_check == "replay":
            require_reproducible(
                log,
                self._sink.blobs,
                facts=stage.facts,
                device=str(device_of(self._model)),
                named=self._named,
            )
        self._parts.accept(log)
        self._sink.write_manifest(log)
        stage.journal.discard()
        stage.writer.close()
        self._last = end

    def _graph(self, examples: tuple[Tensor, ...], *, input_names: tuple[str, ...]) -> bytes:
        with sites_in_graph(self._model):
            return self._export(self._model, examples, input_names=input_names)

    def _snapshot(self, optimizer: TorchOptimizer) -> Snapshot:
        return Snapshot(
            infos=describe_state(self._model),
            tensors=copy_state(self._model),
            holders=holders_of(self._model),
            slots=copy_slots(
                optimizer,
                parameter_names(self._model),
                kind=describe_optimizer(optimizer).kind,
            ),
        )

    def _require_ready(self, name: str) -> None:
        if self._failed is not None:
            raise StageLogError(
                f"stage {name!r}",
                expected="stages that were recorded to their end",
                found=f"stage {self._failed!r}, which was not",
                remedy="Start a new log, from the last recorded boundary if you can.",
            )
        if name in (stage.name for stage in self._parts.stages):
            raise StageLogError(
                f"stage {name!r}",
                expected="a name that no other stage has",
                found="a second stage",
                remedy="Give each stage a name of its own.",
            )
        if self._open is not None:
            raise StageLogError(
                f"stage {name!r}",
                expected="one stage at a time",
                found=f"stage {self._open!r} still open",
                remedy="Leave its `with` block first.",
            )


def _abandon(stage: StageRecorder, error: BaseException, *, finishing: bool) -> None:
    """Keep what can be kept of a stage that does not end."""
    # The error that ends the stage is the one to tell; what cannot be kept is not lost by it.
    with suppress(AuditorError, RuntimeError, OSError):
        place_is_lacking = isinstance(error, ResourceError | UnavailableError)
        if finishing and isinstance(error, AuditorError) and not place_is_lacking:
            stage.journal.refused(str(error))
        else:
            stage.rescue()
        stage.writer.drain()
    stage.writer.close()
    stage.journal.close()


@contextmanager
def _declared(where: str) -> Iterator[None]:
    """Translate what records refuse: the caller declared something that a log cannot hold."""
    try:
        yield
    except ValidationError as error:
        raise refusal(error, where=where) from error
    except ValueError as error:
        raise StageLogError(
            where,
            expected="what docs/reference/stagelog.md lists",
            found=str(error),
            remedy="Correct the declaration.",
        ) from error


def _frozen(model: nn.Module) -> frozenset[str]:
    return frozenset(name for name, p in model.named_parameters() if not p.requires_grad)
