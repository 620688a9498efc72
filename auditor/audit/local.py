"""An audit in one process: the same plan and the same actions as the service, without a database.

Results are remembered by a :class:`ResultIndex`, so that a second audit of the same log costs
forward passes only.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from math import inf
from typing import Protocol

from auditor.audit.execute import ActionResult, OnBlock, Worker
from auditor.audit.out_of_memory import is_out_of_memory, out_of_memory
from auditor.audit.outside import OutsideEvaluator
from auditor.audit.planning import check_request, data_of, plan_round
from auditor.model.activations import example_activations
from auditor.plan.actions import ActionKey, ActionSpec, WriteReport, dependencies, key_of
from auditor.plan.footprint import NOTHING, Footprint, footprint, require_fits
from auditor.plan.groups import GroupKeys
from auditor.plan.request import AuditRequest
from auditor.plan.room import DEFAULT_MAX_LANES, FIRST_FACTOR, fill, halved
from auditor.report.schema import Report
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.dataset import EvaluationSet
from auditor.stagelog.digest import Digest, canonical_bytes
from auditor.stagelog.evaluation import parse_evaluation_set
from auditor.stagelog.log import StageLog
from auditor.stagelog.validate import parse_manifest, refuse_unsupported, validate


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalProgress:
    """How far a local audit is: finished actions, and steps of the group that runs."""

    actions_done: int
    actions_total: int
    kind: str
    steps_done: int
    steps_total: int


class GroupWorker(Protocol):
    """Executes groups of actions; :class:`auditor.audit.execute.Worker` is one."""

    def execute(
        self,
        specs: Sequence[ActionSpec],
        *,
        results: Mapping[ActionKey, Digest],
        on_block: OnBlock,
    ) -> Sequence[ActionResult]:
        """Return the results of actions that share one group key, in order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupLimits:
    """How large local groups may be.

    Attributes:
        max_lanes: How many actions run as one batch at most.
        memory_bytes: Of the device; infinite if nobody knows.
        footprint_of: What an action needs.
    """

    max_lanes: int = DEFAULT_MAX_LANES
    memory_bytes: float = inf
    footprint_of: Callable[[ActionSpec], Footprint] = lambda _: NOTHING


@dataclass(frozen=True, kw_only=True, slots=True)
class _Waiting:
    """An action that is not finished, as :class:`auditor.plan.room.Candidate`."""

    spec: ActionSpec
    log: str
    fixed_bytes: int
    lane_bytes: int
    max_lanes: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """The report of an audit without its ``run`` part, and the actions that it rests on."""

    report: Report
    actions: tuple[ActionKey, ...]


class ResultIndex(Protocol):
    """Which actions are finished, across audits, and how their groups were executed."""

    def get(self, key: ActionKey) -> Digest | None:
        """Return the result of a finished action, or None."""

    def execution(self, key: ActionKey) -> Digest | None:
        """Return the record of the group that a finished action ran in, or None."""

    def put(self, key: ActionKey, digest: Digest, *, execution: Digest | None = None) -> None:
        """Remember the result of an action and the record of its group."""


def prepare(request: AuditRequest, blobs: BlobStore) -> StageLog:
    """Return the log of a request after checking both.

    Raises:
        AuditorError: If the log or the request is not answerable; see
            :func:`auditor.audit.check.check_request`.
    """
    log = parse_manifest(blobs.read(Digest(request.log)))
    validate(log)
    refuse_unsupported(log)
    sets: dict[str, EvaluationSet] = {
        digest: parse_evaluation_set(blobs.read(Digest(digest)))
        for digest in data_of(request)
        if blobs.has(Digest(digest))
    }
    check_request(request, log, sets)
    return log


def activations_of(log: StageLog, blobs: BlobStore) -> dict[str, int]:
    """Return the bytes of one example's activations, by graph of a log that was checked."""
    return example_activations(log, lambda digest: blobs.read(Digest(digest)))


def run_audit(
    request: AuditRequest,
    *,
    blobs: BlobStore,
    index: ResultIndex,
    device: str,
    max_lanes: int = DEFAULT_MAX_LANES,
    on_progress: Callable[[LocalProgress], None] = lambda _: None,
    outside: OutsideEvaluator | None = None,
    memory_bytes: int | None = None,
) -> Report:
    """Plan and execute an audit and return its report without the ``run`` part.

    Args:
        request: What is asked.
        blobs: Holds the log and all data; receives every result.
        index: Finished actions of earlier audits; receives those of this one.
        device: A torch device such as ``cpu`` or ``cuda:0``.
        max_lanes: How many actions run as one batch at most.
        on_progress: Called at block boundaries; raising stops the audit.
        outside: Runs the tools of queries of kind ``outside``; None refuses them.
        memory_bytes: Of the device; groups have no more lanes than should fit it. None asks
            neither whether an action fits nor how many do.

    Returns:
        The report.

    Raises:
        ResourceError: If an action alone should need more memory than there is, or does.
        AuditorError: If the request is not answerable or an action fails.
    """
    return answer(
        request,
        blobs=blobs,
        index=index,
        device=device,
        max_lanes=max_lanes,
        on_progress=on_progress,
        outside=outside,
        memory_bytes=memory_bytes,
    ).report


def answer(
    request: AuditRequest,
    *,
    blobs: BlobStore,
    index: ResultIndex,
    device: str,
    max_lanes: int = DEFAULT_MAX_LANES,
    on_progress: Callable[[LocalProgress], None] = lambda _: None,
    outside: OutsideEvaluator | None = None,
    memory_bytes: int | None = None,
) -> Answered:
    """Do what :func:`run_audit` does, and return the actions beside the report."""
    log = prepare(request, blobs)
    limits = GroupLimits(max_lanes=max_lanes)
    if memory_bytes is not None:
        activations = activations_of(log, blobs)
        limits = GroupLimits(
            max_lanes=max_lanes,
            memory_bytes=memory_bytes,
            footprint_of=partial(footprint, log=log, activations=activations),
        )
    blobs.write(canonical_bytes(request))
    worker = Worker(blobs, device=device, outside=outside)
    results: dict[ActionKey, Digest] = {}
    while True:
        planned = plan_round(request, log, results, blobs=blobs)
        if all(key_of(spec) in results for spec in planned.actions):
            report = Report.model_validate_json(bytes(blobs.read(results[planned.report])))
            keys = (key_of(spec) for spec in planned.actions)
            return Answered(
                report=report, actions=tuple(key for key in keys if key != planned.report)
            )
        if memory_bytes is not None:
            for spec in planned.actions:
                if index.get(key_of(spec)) is None:
                    needed = limits.footprint_of(spec)
                    require_fits(needed, kind=spec.kind, budget=memory_bytes)
        results |= execute_actions(
            planned.actions,
            worker=worker,
            blobs=blobs,
            index=index,
            limits=limits,
            on_progress=on_progress,
        )


def execute_actions(
    actions: Iterable[ActionSpec],
    *,
    worker: GroupWorker,
    blobs: BlobStore,
    index: ResultIndex,
    limits: GroupLimits,
    on_progress: Callable[[LocalProgress], None],
) -> dict[ActionKey, Digest]:
    """Execute actions that are not finished yet and return the results of all.

    A group that runs out of memory is halved.

    Args:
        actions: Closed under their dependencies.
        worker: Executes groups of them.
        blobs: Where results are.
        index: Finished actions; receives those that are executed.
        limits: How large the groups may be.
        on_progress: Called at block boundaries; raising stops the execution.

    Raises:
        ResourceError: If an action alone runs out of memory.
        AuditorError: If an action fails.
    """
    known = {key_of(spec): spec for spec in actions}
    stored = {key: index.get(key) for key in known}
    results = {key: own for key, own in stored.items() if own is not None and blobs.has(own)}
    waiting = {key: _waiting(spec, limits) for key, spec in known.items() if key not in results}
    group_key = GroupKeys(
        lru_cache(maxsize=2)(lambda digest: parse_manifest(blobs.read(Digest(digest))))
    )
    while waiting:
        group = _next_group(waiting.values(), results, group_key=group_key, limits=limits)
        on_block = _reporter(
            on_progress, kind=group[0].kind, done=len(known) - len(waiting), total=len(known)
        )
        on_block(0, 1)
        keys = [key_of(spec) for spec in group]
        finished = _finished(worker, group, results=results, on_block=on_block)
        if finished is None:
            most = halved(len(group))
            waiting |= {key: replace(waiting[key], max_lanes=most) for key in keys}
            continue
        for key, result in zip(keys, finished, strict=True):
            results[key] = result.digest
            index.put(key, result.digest, execution=result.execution)
            del waiting[key]
    return results


def _finished(
    worker: GroupWorker,
    group: Sequence[ActionSpec],
    *,
    results: Mapping[ActionKey, Digest],
    on_block: OnBlock,
) -> Sequence[ActionResult] | None:
    """Return the results of a group; None if it ran out of memory and a smaller one may not.

    Raises:
        ResourceError: If an action alone runs out of memory.
    """
    try:
        return worker.execute(group, results=results, on_block=on_block)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        if len(group) == 1:
            raise out_of_memory(error) from error
    return None


def _waiting(spec: ActionSpec, limits: GroupLimits) -> _Waiting:
    needed = limits.footprint_of(spec)
    log = "" if isinstance(spec, WriteReport) else spec.log
    return _Waiting(spec=spec, log=log, fixed_bytes=needed.fixed, lane_bytes=needed.lane)


def _reporter(
    on_progress: Callable[[LocalProgress], None], *, kind: str, done: int, total: int
) -> OnBlock:
    def on_block(steps: int, of: int) -> None:
        on_progress(
            LocalProgress(
                actions_done=done,
                actions_total=total,
                kind=kind,
                steps_done=steps,
                steps_total=of,
            )
        )

    return on_block


def _next_group(
    waiting: Iterable[_Waiting],
    results: Mapping[ActionKey, Digest],
    *,
    group_key: GroupKeys,
    limits: GroupLimits,
) -> list[ActionSpec]:
    """Return the first ready action and the ready actions that can run with it."""
    ready = [own for own in waiting if all(key in results for key in dependencies(own.spec))]
    head = group_key(ready[0].spec)
    group, _ = fill(
        [own for own in ready if group_key(own.spec) == head],
        room=limits.max_lanes,
        most_bytes=limits.memory_bytes / FIRST_FACTOR,
    )
    return [own.spec for own in group]
