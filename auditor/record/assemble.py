"""Put what was recorded together as a StageLog."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, final

from auditor.errors import StageLogError, UnsupportedError
from auditor.record.checkpoints import StoredState, write_blob, write_state
from auditor.record.complete import complete_stage
from auditor.record.graphs import describe_graph
from auditor.record.snapshot import Snapshot
from auditor.record.stage import StageRecorder
from auditor.record.transition import StateChange
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.dataset import Dataset
from auditor.stagelog.log import (
    Checkpoint,
    CheckpointRole,
    External,
    Graph,
    ParameterGroup,
    ParameterInfo,
    Run,
    Stage,
    StageLog,
    Stochastic,
    Transition,
)
from auditor.stagelog.validate import STAGELOG_MINOR, refuse_unsupported, validate


@final
@dataclass(kw_only=True)
class LogParts:
    """The log of a run that goes on.

    Attributes:
        blobs: Where blobs go.
        run: Facts about the run.
        datasets: Declared and captured datasets by name.
        start: The checkpoint before the first stage.
        base: A base model that is recorded by reference, and its entry in the manifest.
        stored: The state at the last boundary.
        ended: That at the end of a stage that is not accepted yet.
    """

    blobs: BlobStore
    run: Run
    datasets: dict[str, Dataset] = field(default_factory=dict)
    start: Checkpoint | None = None
    base: StoredState | None = None
    external: dict[str, External] = field(default_factory=dict)
    stored: StoredState | None = None
    ended: StoredState | None = None
    parameters: dict[str, ParameterInfo] = field(default_factory=dict)
    graphs: dict[str, Graph] = field(default_factory=dict)
    stages: tuple[Stage, ...] = ()

    @property
    def next_step(self) -> int:
        """Global number of the next stage's first step."""
        return self.stages[-1].end_step if self.stages else 0

    def begin(self, now: Snapshot) -> None:
        """Note the state before a stage; before the first it is the log's start."""
        if not self.stages:
            self.stored = write_state(
                0, CheckpointRole.BOUNDARY, now, blobs=self.blobs, before=self.base
            )
            self.start = self.stored.checkpoint
            self.parameters = dict(now.infos)

    def log(self) -> StageLog:
        """Return the log of all finished stages.

        Raises:
            StageLogError: If there is none.
        """
        if self.start is None or not self.stages:
            raise StageLogError(
                "stages", expected="a finished stage", found="none", remedy="Record a stage first."
            )
        return StageLog(
            minor=STAGELOG_MINOR,
            run=self.run,
            parameters=self.parameters,
            graphs=self.graphs,
            datasets=self.datasets,
            start=self.start,
            stages=self.stages,
            external=self.external or None,
        )

    def accept(self, log: StageLog) -> None:
        """Go on from a log that :meth:`with_stage` returned."""
        self.parameters, self.graphs = dict(log.parameters), dict(log.graphs)
        self.datasets, self.stages = dict(log.datasets), log.stages
        self.stored = self.ended

    def with_stage(self, stage: StageRecorder, *, change: StateChange, end: Snapshot) -> StageLog:
        """Return the log with one more stage, whose blobs are written.

        Args:
            stage: The stage, no longer listening.
            change: What its transition did.
            end: The state after its last step.

        Raises:
            StageLogError: If it has no steps, or a batch without a step.
            UnsupportedError: If a name changed its shape, or an audit could not treat the stage.
        """
        stage.table.require_complete()
        captured = {stage.capture.name: stage.capture.finish()} if stage.capture.examples else {}
        step = stage.table.next_step
        self.ended = write_state(
            step, CheckpointRole.BOUNDARY, end, blobs=self.blobs, before=self.stored
        )
        log = complete_stage(
            self.draft(stage, change=change, infos=end.infos),
            table=stage.table,
            checkpoints=(*(c for c in stage.kept if c.step < step), *self.ended.as_checkpoints),
            captured=captured,
            blobs=self.blobs,
        )
        validate(log)
        if stage.settings.self_check == "replay":
            refuse_unsupported(log)
        return log

    def draft(
        self, stage: StageRecorder, *, change: StateChange, infos: Mapping[str, ParameterInfo]
    ) -> StageLog:
        """Return the log with the stage as it is declared, without steps.

        Args:
            stage: The stage, after its first step.
            change: What its transition did.
            infos: Every name of the model's state.
        """
        parameters = self._merged(infos)
        graphs, graph = self._with_graph(stage, state_names=infos)
        settings, table = stage.settings, stage.table
        groups = table.trained_groups()
        trained = frozenset(name for group in groups for name in group)
        entry = Stage(
            name=settings.name,
            kind=settings.kind,
            graph=graph,
            bindings=settings.bindings,
            loss=settings.loss,
            first_step=table.first_step,
            end_step=table.first_step,
            transition=self._transition(change, trained=trained, present=frozenset(infos)),
            optimizer=stage.arithmetic,
            groups=tuple(ParameterGroup(parameters=names) for names in groups),
            checkpoints=(),
            accumulation=settings.accumulation,
            accumulated="step" if settings.accumulated == "step" else None,
            ema_decay=settings.ema_decay,
            ema_from="first_step" if settings.ema_from == "first_step" else None,
            clipping=settings.clipping,
            precision=settings.precision
            or _precision(infos, trained, lower=stage.facts.lower_precision),
            stochastic=Stochastic(
                dropout=_dropout(stage),
                augmentation=settings.augmentation,
                seed=stage.masks.seed,
            ),
            generated_by=settings.generated_by,
            tokenizer=settings.tokenizer,
            preprocessing=settings.preprocessing,
        )
        return LogParts(
            blobs=self.blobs,
            run=self.run,
            datasets=dict(self.datasets),
            start=self.start,
            external=self.external,
            parameters=parameters,
            graphs=graphs,
            stages=(*self.stages, entry),
        ).log()

    def _transition(
        self, change: StateChange, *, trained: frozenset[str], present: frozenset[str]
    ) -> Transition:
        new_names = {old: new for new, old in change.renamed.items()}
        trained_before = self.stages[-1].trainable if self.stages else trained
        before = frozenset(new_names.get(name, name) for name in trained_before)
        fresh = set(change.added)
        return Transition(
            optimizer=change.optimizer,
            added=change.added,
            added_values=write_blob(change.values, blobs=self.blobs) if change.added else None,
            removed=change.removed,
            renamed=dict(change.renamed) or None,
            frozen=tuple(sorted((before & present) - fresh - trained)),
            unfrozen=tuple(sorted(trained - before - fresh)),
        )

    def _with_graph(
        self, stage: StageRecorder, *, state_names: Mapping[str, ParameterInfo]
    ) -> tuple[dict[str, Graph], str]:
        """Return all graphs and the stage's name among them; equal graphs are kept once."""
        if stage.graph is None:
            raise StageLogError(
                f"stage {stage.settings.name!r}",
                expected="an exported graph",
                found="none",
                remedy="Declare a batch, or pass example_inputs.",
            )
        graph = describe_graph(
            stage.graph, state_names=state_names, facts=stage.facts, blobs=self.blobs
        )
        for name, known in self.graphs.items():
            if known == graph:
                return self.graphs, name
        name = "model" if not self.graphs else f"model-{len(self.graphs) + 1}"
        return {**self.graphs, name: graph}, name

    def _merged(self, infos: Mapping[str, ParameterInfo]) -> dict[str, ParameterInfo]:
        for name, info in infos.items():
            known = self.parameters.get(name, info)
            if known != info:
                raise UnsupportedError(
                    f'parameters["{name}"]',
                    expected=f"shape {list(known.shape)}, {known.dtype}, tied to {known.tied_to}, "
                    "as in earlier stages",
                    found=f"{list(info.shape)}, {info.dtype}, tied to {info.tied_to}",
                    remedy="Give a new layer a new attribute name, such as model.head2.",
                )
        return {**self.parameters, **infos}


def _dropout(stage: StageRecorder) -> Literal["none", "not_recorded", "seeded"]:
    if stage.facts.dropout:
        return "not_recorded"
    return "seeded" if stage.masks.active else "none"


def _precision(
    infos: Mapping[str, ParameterInfo], trained: frozenset[str], *, lower: str | None
) -> str:
    dtypes = "+".join(sorted({infos[name].dtype for name in trained}))
    return dtypes if lower is None else f"autocast {lower} over {dtypes}"
