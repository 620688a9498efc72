"""Execution: a group of ready actions -> result blobs. The only place where actions meet torch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar, assert_never, final

import torch
from torch import Tensor

from auditor.audit.bind import bind_model
from auditor.audit.carry import CARRIES, Carry, carried
from auditor.audit.cost import gradient_examples
from auditor.audit.environment import execution_of, software_of
from auditor.audit.failures import require_no_failure, results_or_failures
from auditor.audit.loaded_runs import LoadedRuns
from auditor.audit.outside import OutsideEvaluator
from auditor.audit.planning import data_of
from auditor.audit.underway import SavedAction, Underway
from auditor.audit.write_report import write_report
from auditor.dynamics.adjoint import sweep
from auditor.dynamics.cohort import Leg
from auditor.dynamics.consistency import SegmentSample, check_segment
from auditor.dynamics.displace import displaced_final_state
from auditor.dynamics.evaluate import Evaluation, evaluate, mean_query_gradient, project
from auditor.dynamics.export_state import final_tensors
from auditor.dynamics.group_sizes import group_sizes
from auditor.dynamics.minibatches import Lane
from auditor.dynamics.run import Run
from auditor.dynamics.state import TrainingState, state_from_tensors, state_tensors
from auditor.dynamics.tangent import stage_embedding
from auditor.dynamics.trajectory import carry
from auditor.effects import Query, QueryKind
from auditor.errors import InputError, InternalError, StageLogError, UnsupportedError
from auditor.model.layout import ParameterLayout
from auditor.model.tensors import read_tensors, write_tensors
from auditor.plan.actions import (
    ActionKey,
    ActionSpec,
    Advance,
    BindModel,
    CheckSegment,
    CoarseAdvance,
    Computed,
    Displace,
    Embedding,
    Evaluate,
    ExportState,
    FlowStage,
    JumpStage,
    Project,
    Recorded,
    SettleStage,
    StateRef,
    Sweep,
    WriteReport,
)
from auditor.plan.request import AuditRequest
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.dataset import EvaluationSet
from auditor.stagelog.digest import Digest, canonical_bytes
from auditor.stagelog.log import StageLog

Spec = TypeVar("Spec")

OnBlock = Callable[[int, int], None]
"""Called with (done, total) at block boundaries; may raise to stop the group."""


STATES_AND_VALUES = (Advance, *CARRIES, Displace, Embedding, Sweep, Evaluate, Project)
"""Actions whose result may be that they become non-finite: only the report reads it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionResult:
    """The result blob of one action, what it cost, and the blob that says how its group ran."""

    digest: Digest
    gradient_examples: int
    execution: Digest | None = None  #: of a :class:`auditor.report.execution.GroupExecution`


@final
class Worker:
    """Executes groups of actions on one device, keeping recently used logs loaded.

    Args:
        blobs: Where inputs are read and results written.
        device: A torch device such as ``cpu`` or ``cuda:0``.
        outside: Runs the tools of queries of kind ``outside``; None refuses them.
    """

    def __init__(
        self, blobs: BlobStore, *, device: str, outside: OutsideEvaluator | None = None
    ) -> None:
        self._blobs = blobs
        self._device = device
        self._outside = outside
        self._run = LoadedRuns(blobs, device=device)
        self._underway = Underway()

    def resume(self, spec: ActionSpec, data: bytes | memoryview) -> int:
        """Let an action go on, when it is executed next, from what :meth:`save` gave; say its step.

        0 means that it starts from the beginning: only advances go on, and only from what fits.
        """
        if not isinstance(spec, Advance):
            return 0
        try:
            return self._underway.resume(self._run(spec.log), spec, data=data)
        except (InputError, StageLogError, UnsupportedError):
            return 0

    def forget(self) -> None:
        """Let go of the states of actions that were stopped and are not executed again."""
        self._underway.expect(())

    def save(self) -> Iterator[SavedAction]:
        """Yield where advances under way are that moved since the last call; for ``on_block``."""
        return self._underway.save()

    def execute(
        self,
        specs: Sequence[ActionSpec],
        *,
        results: Mapping[ActionKey, Digest],
        on_block: OnBlock,
    ) -> list[ActionResult]:
        """Execute actions that share one group key and return their results in order.

        Args:
            specs: At least one action; several only if :func:`auditor.plan.groups.group_key`
                gives them the same key.
            results: Results of all their dependencies.
            on_block: Progress; raising stops the group and nothing is returned. Advances that are
                executed again after that, with the others or without, go on from there.

        Returns:
            One result an action; their blobs are stored durably. That of a computation which
            becomes non-finite is the error (:mod:`auditor.audit.failures`).

        Raises:
            InternalError: If the actions cannot run as one group.
        """
        self._underway.expect(specs)
        self._run.trim()
        resumed = self._underway.resumed
        compute = partial(self._execute, results=results, on_block=on_block)
        may_fail = isinstance(specs[0], STATES_AND_VALUES)
        blobs = results_or_failures(specs, compute) if may_fail else compute(specs)
        self._underway.expect(())
        digests = [self._blobs.write(data) for data in blobs]
        ran = execution_of(specs, digests, device=self._device, resumed=resumed)
        execution = self._blobs.write(canonical_bytes(ran))
        return [
            ActionResult(
                digest=digest,
                gradient_examples=gradient_examples([spec], self._log_of(spec)),
                execution=execution,
            )
            for spec, digest in zip(specs, digests, strict=True)
        ]

    def _execute(
        self,
        specs: Sequence[ActionSpec],
        *,
        results: Mapping[ActionKey, Digest],
        on_block: OnBlock,
    ) -> list[bytes]:
        first = specs[0]
        match first:
            case Advance():
                return self._advance([_as(Advance, spec) for spec in specs], results, on_block)
            case CoarseAdvance() | SettleStage() | JumpStage() | FlowStage():
                carries = [spec for spec in specs if isinstance(spec, CARRIES)]
                return self._carry(carries, results, on_block)
            case Evaluate():
                return self._evaluate([_as(Evaluate, spec) for spec in specs], results)
            case _ if len(specs) > 1:
                raise InternalError(
                    "group",
                    expected=f"a single {first.kind} action",
                    found=len(specs),
                    remedy="Report this as a bug.",
                )
            case _:
                return [self._execute_one(first, results, on_block)]

    def _execute_one(
        self, spec: ActionSpec, results: Mapping[ActionKey, Digest], on_block: OnBlock
    ) -> bytes:
        match spec:
            case CheckSegment():
                finding = check_segment(
                    self._run(spec.log), spec.stage, on_block=on_block, sample=_sample_of(spec)
                )
                return canonical_bytes(finding)
            case BindModel():
                bound = bind_model(
                    self._run(spec.log),
                    Digest(spec.model),
                    blobs=self._blobs,
                    derivation=spec.derivation or (),
                    queries=spec.queries or (),
                )
                return canonical_bytes(bound)
            case Displace():
                run = self._run(spec.log)
                state = displaced_final_state(run, spec.stages)
                return _state_blob(state, run.layout(len(run.log.stages) - 1))
            case Embedding():
                run = self._run(spec.log)
                state = stage_embedding(
                    run, spec.intervention, curvature=spec.curvature, on_block=on_block
                )
                return _state_blob(state, run.layout(len(run.log.stages) - 1))
            case Project():
                run = self._run(spec.log)
                embedding = Computed(key=spec.embedding)
                direction = self._state(run, embedding, before=len(run.log.stages), results=results)
                return _values_blob(*project(run, spec.query, direction))
            case Sweep():
                run = self._run(spec.log)
                gradient = mean_query_gradient(run, spec.query)
                steps = sweep(run, gradient, curvature=spec.curvature, on_block=on_block)
                return write_tensors({"steps": steps.double().cpu()})
            case ExportState():
                run = self._run(spec.log)
                state = self._state(run, spec.state, before=len(run.log.stages), results=results)
                return write_tensors(final_tensors(run, state))
            case WriteReport():
                return self._report(spec, results)
            case (
                Advance() | CoarseAdvance() | SettleStage() | JumpStage() | FlowStage() | Evaluate()
            ):
                raise InternalError(
                    "group", expected="a grouped action", found=spec.kind, remedy="Report this."
                )
            case _:
                assert_never(spec)

    def _advance(
        self, specs: list[Advance], results: Mapping[ActionKey, Digest], on_block: OnBlock
    ) -> list[bytes]:
        legs = [self._leg(spec) for spec in specs]
        passage = self._underway.passage(specs)

        def start(lane: int) -> TrainingState:
            own, saved = legs[lane], passage.saved(lane)
            if saved is not None:
                return saved.state
            ref, stage = specs[lane].start, own.stage_index
            return own.run.transition(stage)(
                self._state(own.run, ref, before=stage, results=results)
            )

        # An iterator, so that nobody holds a start state that the steps have left behind.
        starts = map(start, range(len(legs)))
        advanced = carry(legs, starts, on_block=on_block, passage=passage)
        return [
            _state_blob(state, own.run.layout(own.stage_index))
            for own, state in zip(legs, advanced.states, strict=True)
        ]

    def _leg(self, spec: Advance) -> Leg:
        run = self._run(spec.log)
        lane = Lane(
            intervention=spec.intervention,
            fraction=spec.fraction,
            seed=spec.seed,
            replica=spec.replica,
            order=spec.order,
            draw=spec.draw,
        )
        steps = range(run.log.stages[spec.stage].steps)
        return Leg(run=run, stage_index=spec.stage, lane=lane, steps=steps)

    def _carry(
        self, specs: list[Carry], results: Mapping[ActionKey, Digest], on_block: OnBlock
    ) -> list[bytes]:
        """Carry displacements through a stage."""
        run, stage = self._run(specs[0].log), specs[0].stage
        states = carried(
            run,
            specs,
            state_of=lambda ref: self._state(run, ref, before=stage, results=results),
            on_block=on_block,
        )
        return [_state_blob(state, run.layout(stage)) for state in states]

    def _evaluate(self, specs: list[Evaluate], results: Mapping[ActionKey, Digest]) -> list[bytes]:
        run, states = self._run(specs[0].log), dict[str, TrainingState]()
        asked = []
        for spec in specs:
            name = spec.state.model_dump_json()  # read once, however many queries ask for it
            if name not in states:
                states[name] = self._state(
                    run, spec.state, before=len(run.log.stages), results=results
                )
            asked.append((states[name], spec.query))
        if specs[0].query.kind is QueryKind.OUTSIDE:
            return [self._measured_outside(run, state, query) for state, query in asked]
        return [_evaluation_blob(found) for found in evaluate(run, asked)]

    def _measured_outside(self, run: Run, state: TrainingState, query: Query) -> bytes:
        if self._outside is None or query.tool is None:
            raise UnsupportedError(
                f"query {query.name!r}.kind",
                expected="a kind that is computed here",
                found=query.kind,
                remedy="Run it with `stageaudit audit --local LOGDIR --outside NAME=COMMAND`.",
            )
        found = self._outside.evaluate(query.tool, write_tensors(final_tensors(run, state)))
        return write_tensors({
            "values": torch.from_numpy(found.values), "id": torch.from_numpy(found.ids),
        })  # fmt: skip

    def _state(
        self, run: Run, ref: StateRef, *, before: int, results: Mapping[ActionKey, Digest]
    ) -> TrainingState:
        """Return the state at boundary ``before``: a checkpoint, or an earlier action's result."""
        match ref:
            case Recorded(boundary=boundary):
                return run.boundary(boundary)
            case Computed(key=key):
                tensors = read_tensors(
                    self._blobs.read(results[ActionKey(key)]), where=f"actions[{key[:12]}]"
                )
                require_no_failure(tensors)
                return state_from_tensors(
                    _to(tensors, self._device),
                    run.boundary_layout(before),
                    where=f"actions[{key[:12]}]",
                )
            case _:
                assert_never(ref)

    def _report(self, spec: WriteReport, results: Mapping[ActionKey, Digest]) -> bytes:
        request = AuditRequest.model_validate_json(bytes(self._blobs.read(Digest(spec.request))))
        sets = {
            digest: EvaluationSet.model_validate_json(bytes(self._blobs.read(Digest(digest))))
            for digest in data_of(request)
        }
        run = self._run(request.log)
        report = write_report(
            request,
            run.log,
            evaluation_sets=sets,
            blobs=self._blobs,
            results=results,
            sizes=partial(group_sizes, run),
            software=software_of(self._device),
        )
        return canonical_bytes(report)

    def _log_of(self, spec: ActionSpec) -> StageLog:
        if isinstance(spec, WriteReport):
            data = self._blobs.read(Digest(spec.request))
            return self._run(AuditRequest.model_validate_json(bytes(data)).log).log
        return self._run(spec.log).log


def _as(kind: type[Spec], spec: object) -> Spec:
    if not isinstance(spec, kind):
        raise InternalError(
            "group",
            expected=f"only {kind.__name__} actions",
            found=type(spec).__name__,
            remedy="Report this as a bug.",
        )
    return spec


def _to(tensors: Mapping[str, Tensor], device: str) -> dict[str, Tensor]:
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def _sample_of(spec: CheckSegment) -> SegmentSample | None:
    if spec.sample is None:
        return None
    return SegmentSample(fraction=spec.sample, seed=spec.seed or 0)


def _state_blob(state: TrainingState, layout: ParameterLayout) -> bytes:
    return write_tensors(state_tensors(state, layout))


def _evaluation_blob(found: Evaluation) -> bytes:
    tensors = {"values": found.values.double().cpu(), "id": found.ids.to(torch.int64).cpu()}
    if found.cluster is not None:
        tensors["cluster"] = found.cluster.to(torch.int64).cpu()
    if found.jackknife:
        tensors["jackknife"] = torch.ones(1, dtype=torch.uint8)
    return write_tensors(tensors)


def _values_blob(values: Tensor, ids: Tensor) -> bytes:
    return write_tensors({"values": values.double().cpu(), "id": ids.to(torch.int64).cpu()})
