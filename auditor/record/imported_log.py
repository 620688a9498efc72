"""A stage log from checkpoints alone: boundaries, schedules where a trainer noted them, gaps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, final

from torch import Tensor

from auditor.errors import InputError, PreconditionError
from auditor.model.tensors import write_tensors
from auditor.record.exported_model import ExportedModel, require_reference
from auditor.record.facts import ForwardFacts
from auditor.record.fitted_state import FittedState, fitted_state, merged_infos
from auditor.record.graphs import describe_graph
from auditor.record.imported_stage import ImportedStage, step_before, step_of
from auditor.record.peft_adapter import merged_weights
from auditor.record.saved_state import SavedState
from auditor.record.sink import LogSink
from auditor.record.training_facts import stage_schedule
from auditor.stagelog.content import check_content
from auditor.stagelog.log import (
    Bindings,
    Checkpoint,
    Graph,
    Loss,
    Optimizer,
    Origin,
    ParameterGroup,
    ParameterInfo,
    Run,
    Stage,
    StageKind,
    StageLog,
    Stochastic,
    Transition,
)
from auditor.stagelog.schedule import Schedule, write_schedule
from auditor.stagelog.unsupported import NOT_RECORDED
from auditor.stagelog.validate import STAGELOG_MINOR, validate

AddedValues = Literal["refuse", "zeros"]
"""What stands for parameters that the checkpoint before a stage lacks."""

NEVER_NOTED = (
    "data, batches, loss options, dropout, clipping and precision of every stage: effects come "
    "from checkpoints alone"
)
TARGETS = {"classification": "label", "language": "next", "other": "target"}
"""Column of the target by what a model puts out."""


@final
@dataclass(kw_only=True)
class LogImport:
    """Writes the stage log of a run of which checkpoints are left.

    Attributes:
        sink: Where the log goes.
        run: Facts about the run.
        added: What stands for parameters that the checkpoint before a stage lacks.
        gaps: What the log does not hold, in words.
    """

    sink: LogSink
    run: Run
    added: AddedValues = "refuse"
    gaps: list[str] = field(default_factory=lambda: [NEVER_NOTED])
    _infos: dict[str, ParameterInfo] = field(default_factory=dict)
    _graphs: dict[str, Graph] = field(default_factory=dict)
    _stages: list[Stage] = field(default_factory=list)

    def write(self, start: SavedState, stages: Sequence[ImportedStage]) -> StageLog:
        """Return the log, which is written and checked.

        Args:
            start: The checkpoint before the first stage.
            stages: In the order of the training.

        Raises:
            InputError: If a checkpoint lacks tensors, does not differ from the one before, or does
                not fit its model.
            UnsupportedError: If one is quantised or of another dtype.
            NumericalError: If a number is not finite.
        """
        first = stages[0].model
        before = self._fitted(start, first, where=start.path.name)
        fresh = before.missing
        held = _without(first.parameters, fresh)
        beginning = self._checkpoint(
            0, before.tensors, optimizer={} if self._with_schedule(stages) else None
        )
        tensors, step = dict(before.tensors), 0
        previous: ImportedStage | None = None
        for stage in stages:
            self._infos = merged_infos(self._infos, stage.model.parameters, where=stage.name)
            tensors = self._append(stage, previous, before=tensors, held=held, first_step=step)
            held, step, previous = stage.model.parameters, self._stages[-1].end_step, stage
        log = StageLog(
            minor=STAGELOG_MINOR,
            run=self.run,
            parameters=self._infos,
            graphs=self._graphs,
            datasets={},
            start=beginning,
            stages=tuple(self._stages),
            origin=Origin(kind="imported", gaps=tuple(self.gaps)),
        )
        validate(log)
        check_content(log, self.sink.blobs)
        self.sink.write_manifest(log)
        return log

    def _append(
        self,
        stage: ImportedStage,
        previous: ImportedStage | None,
        *,
        before: dict[str, Tensor],
        held: Mapping[str, ParameterInfo],
        first_step: int,
    ) -> dict[str, Tensor]:
        """Add a stage and return the tensors at its end."""
        end = self._end_of(stage, before=before)
        fresh = [name for name in stage.model.parameters if name not in held]
        self._require_values(stage, fresh)
        changed = [
            name
            for name in stage.model.order
            if name not in before or not before[name].equal(end[name])
        ]
        if not changed:
            raise InputError(
                f"stage {stage.name!r}",
                expected="other parameters than the checkpoint before it",
                found="the same",
                remedy="Name every checkpoint once, in the order of the training.",
            )
        earlier = step_before(stage, previous)
        steps = self._steps(stage, earlier=earlier)
        schedule = self._schedule(
            stage, changed=changed, earlier=earlier, steps=steps, first_step=first_step
        )
        optimizer = stage.facts.optimizer if schedule is not None else None
        groups = (tuple(changed),) if optimizer is None else optimizer.groups
        trained = frozenset(name for group in groups for name in group)
        trained_before = self._stages[-1].trainable if self._stages else trained
        zeros = {name: end[name].new_zeros(end[name].shape) for name in fresh if name in end}
        removed = sorted(set(held) - set(stage.model.parameters))
        self._stages.append(
            Stage(
                name=stage.name,
                kind=StageKind.ADAPT if stage.saved.form == "adapter" else StageKind.OTHER,
                graph=self._graph(stage),
                bindings=Bindings(
                    inputs={name: name for name in stage.model.inputs},
                    target=TARGETS[stage.model.task],
                ),
                loss=Loss(kind="cross_entropy"),
                first_step=first_step,
                end_step=first_step + steps,
                transition=Transition(
                    added=tuple(sorted(fresh)),
                    added_values=self._write(zeros) if fresh else None,
                    removed=tuple(removed),
                    frozen=tuple(
                        sorted((trained_before & set(stage.model.parameters)) - {*fresh} - trained)
                    ),
                    unfrozen=tuple(sorted(trained - trained_before - set(fresh))),
                ),
                optimizer=Optimizer(kind=NOT_RECORDED)
                if optimizer is None
                else optimizer.arithmetic,
                groups=tuple(ParameterGroup(parameters=names) for names in groups),
                schedule=None
                if schedule is None
                else self.sink.blobs.write(write_schedule(schedule)),
                checkpoints=(
                    self._checkpoint(
                        first_step + steps,
                        end,
                        optimizer=None if optimizer is None else optimizer.slots,
                    ),
                ),
                precision=stage.model.parameters[changed[0]].dtype,
                stochastic=Stochastic(dropout="not_recorded", augmentation="not_recorded"),
                tokenizer=stage.tokenizer,
                preprocessing=stage.preprocessing,
            )
        )
        return end

    def _end_of(self, stage: ImportedStage, *, before: dict[str, Tensor]) -> dict[str, Tensor]:
        if stage.saved.form == "adapter":
            self.gaps.append(f"{stage.name}: the adapter is merged into the weights")
            return merged_weights(before, stage.saved)
        fitted = self._fitted(stage.saved, stage.model, where=stage.name)
        if fitted.missing:
            raise InputError(
                f"{stage.name}: {fitted.missing[0]}",
                expected="every parameter of the stage's model",
                found=f"{len(fitted.missing)} missing",
                remedy="Save the whole model at the end of the stage, with save_pretrained or "
                "torch.save(model.state_dict(), FILE).",
            )
        if stage.exported is not None:
            require_reference(stage.exported, fitted.tensors)
        return dict(fitted.tensors)

    def _fitted(self, saved: SavedState, model: ExportedModel, *, where: str) -> FittedState:
        tensors = {model.renamed.get(name, name): value for name, value in saved.tensors.items()}
        found = fitted_state(tensors, model.parameters, prefix=model.prefix, where=where)
        if found.surplus:
            self.gaps.append(
                f"{where}: {len(found.surplus)} tensors that the stage's model does not have are "
                f"left out, such as {found.surplus[0]}"
            )
        if found.widened:
            self.gaps.append(f"{where}: {' and '.join(found.widened)} widened to the model's dtype")
        return found

    def _require_values(self, stage: ImportedStage, fresh: Sequence[str]) -> None:
        if not fresh:
            return
        if self.added == "refuse":
            raise PreconditionError(
                f"{stage.name}: {fresh[0]}",
                expected="its value in the checkpoint before the stage",
                found=f"none, nor of {len(fresh) - 1} others",
                remedy="Save the model right after its head is added and name that checkpoint "
                "first; or pass --added zeros, which lets the parameters begin at 0.",
            )
        self.gaps.append(
            f"{stage.name}: {len(fresh)} added parameters begin at 0 here, such as {fresh[0]}; "
            "their first values were not saved"
        )

    def _steps(self, stage: ImportedStage, *, earlier: int) -> int:
        end = step_of(stage)
        self.gaps += [f"{stage.name}: {gap}" for gap in stage.facts.gaps]
        if end is not None and end > earlier:
            return end - earlier
        self.gaps.append(f"{stage.name}: number of steps; it counts as 1")
        return 1

    def _schedule(
        self,
        stage: ImportedStage,
        *,
        changed: Sequence[str],
        earlier: int,
        steps: int,
        first_step: int,
    ) -> Schedule | None:
        schedule = stage_schedule(stage.facts, first=earlier, steps=steps, begins_at=first_step)
        if schedule is None or stage.facts.optimizer is None or stage.facts.trainer is None:
            return None
        trained = {name for group in stage.facts.optimizer.groups for name in group}
        if not set(changed) <= trained:
            self.gaps.append(f"{stage.name}: schedule; parameters changed that no group holds")
            return None
        if not stage.facts.trainer.logged_every(earlier, earlier + steps):
            self.gaps.append(f"{stage.name}: rates between logged steps are interpolated")
        return schedule

    def _with_schedule(self, stages: Sequence[ImportedStage]) -> bool:
        return stages[0].facts.optimizer is not None

    def _graph(self, stage: ImportedStage) -> str:
        graph = describe_graph(
            stage.graph,
            state_names=stage.model.parameters,
            facts=ForwardFacts(),
            blobs=self.sink.blobs,
        )
        for name, known in self._graphs.items():
            if known == graph:
                return name
        name = "model" if not self._graphs else f"model-{len(self._graphs) + 1}"
        self._graphs[name] = graph
        return name

    def _checkpoint(
        self, step: int, tensors: Mapping[str, Tensor], *, optimizer: Mapping[str, Tensor] | None
    ) -> Checkpoint:
        return Checkpoint(
            step=step,
            parameters=self._write(tensors),
            optimizer=None if optimizer is None else self._write(optimizer),
        )

    def _write(self, tensors: Mapping[str, Tensor]) -> str:
        return self.sink.blobs.write(write_tensors(tensors))


def _without(
    infos: Mapping[str, ParameterInfo], missing: Sequence[str]
) -> dict[str, ParameterInfo]:
    gone = set(missing)
    return {name: info for name, info in infos.items() if (info.tied_to or name) not in gone}
