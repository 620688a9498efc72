"""Requests and logs out of the blob store, into actions as the records store them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, final

from pydantic import TypeAdapter

from auditor.audit.cost import gradient_examples
from auditor.audit.forecast import Forecast, forecast
from auditor.audit.planning import Round, check_request, data_of, plan_round
from auditor.plan.actions import ActionKey, ActionSpec, dependencies, key_of
from auditor.plan.footprint import Footprint, footprint
from auditor.plan.groups import GroupKeys
from auditor.plan.request import AuditRequest
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.dataset import EvaluationSet
from auditor.stagelog.digest import Digest, canonical_bytes
from auditor.stagelog.evaluation import parse_evaluation_set
from auditor.stagelog.log import StageLog
from auditor.stagelog.validate import parse_manifest, refuse_unsupported, validate
from service.records.jobs import NewAction


class Planner(Protocol):
    """From a request, its log and finished results to every action known by now; pure."""

    def __call__(
        self,
        request: AuditRequest,
        log: StageLog,
        results: Mapping[ActionKey, Digest],
        *,
        blobs: BlobStore,
    ) -> Round:
        """Return the next round."""


_CACHED_LOGS = 16
_SPEC: TypeAdapter[ActionSpec] = TypeAdapter(ActionSpec)


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedRound:
    """Every action that an audit needs as far as is known, and which of them is the report."""

    actions: tuple[NewAction, ...]
    report: ActionKey


@final
class AuditPlanner:
    """Plans audits of logs in a blob store.

    Args:
        blobs: Holds requests, logs and evaluation sets.
        activations: Returns the bytes of one example's activations, by graph, of a log.
        plan: The planner.
    """

    def __init__(
        self,
        blobs: BlobStore,
        *,
        activations: Callable[[str], Mapping[str, int]],
        plan: Planner = plan_round,
    ) -> None:
        self._blobs = blobs
        self._activations = activations
        self._plan = plan
        # Bounded and keyed by content: a log's manifest is parsed once, not once a round.
        self._log = lru_cache(maxsize=_CACHED_LOGS)(self._read_log)
        self._group_key = GroupKeys(self._log)

    def check(self, request: AuditRequest) -> None:
        """Refuse a request that cannot be answered.

        Raises:
            AuditorError: See :func:`auditor.audit.check.check_request`.
        """
        sets: dict[str, EvaluationSet] = {
            digest: parse_evaluation_set(self._blobs.read(Digest(digest)))
            for digest in data_of(request)
        }
        check_request(request, self._log(request.log), sets)

    def plan(self, request: AuditRequest, results: Mapping[ActionKey, Digest]) -> PlannedRound:
        """Return the next round of a request that was checked."""
        planned = self._plan(request, self._log(request.log), results, blobs=self._blobs)
        return PlannedRound(
            actions=self.actions(planned.actions, log=request.log), report=planned.report
        )

    def actions(self, specs: Iterable[ActionSpec], *, log: str) -> tuple[NewAction, ...]:
        """Return actions on a log as the records store them, with the memory they should need."""
        found, activations = self._log(log), self._activations(log)
        return tuple(
            new_action(
                spec,
                footprint(spec, found, activations=activations),
                group_key=self._group_key(spec),
            )
            for spec in specs
        )

    def footprint(self, action: NewAction, *, log: str) -> Footprint:
        """Return what an action on a log should need."""
        spec = _SPEC.validate_json(action.spec)
        return footprint(spec, self._log(log), activations=self._activations(log))

    def plan_stored(self, request: Digest, results: Mapping[ActionKey, Digest]) -> PlannedRound:
        """Return the next round of a request that was checked and stored."""
        stored = AuditRequest.model_validate_json(bytes(self._blobs.read(request)))
        return self.plan(stored, results)

    def forecast(self, request: AuditRequest, results: Mapping[ActionKey, Digest]) -> Forecast:
        """Return what a request that was checked would take and could show."""
        return forecast(
            request,
            self._log(request.log),
            evaluation_sets={
                digest: parse_evaluation_set(self._blobs.read(Digest(digest)))
                for digest in data_of(request)
            },
            blobs=self._blobs,
            results=results,
        )

    def gradient_examples(self, request: AuditRequest, action: NewAction) -> int:
        """Return how many example gradients an action of the request evaluates."""
        return gradient_examples([_SPEC.validate_json(action.spec)], self._log(request.log))

    def missing(self, results: Iterable[Digest]) -> frozenset[Digest]:
        """Return the results that are no longer stored."""
        return frozenset(digest for digest in results if not self._blobs.has(digest))

    def log(self, digest: str) -> StageLog:
        """Return a stored log.

        Raises:
            StageLogError: If the stored manifest is not valid.
            UnsupportedError: If it uses what this version does not treat.
        """
        return self._log(digest)

    def _read_log(self, digest: str) -> StageLog:
        log = parse_manifest(self._blobs.read(Digest(digest)))
        validate(log)
        refuse_unsupported(log)
        return log


def new_action(spec: ActionSpec, needed: Footprint, *, group_key: Digest) -> NewAction:
    """Return an action as the records store it."""
    return NewAction(
        key=key_of(spec),
        kind=spec.kind,
        group_key=group_key,
        spec=canonical_bytes(spec).decode(),
        needs=tuple(dict.fromkeys(dependencies(spec))),
        fixed_bytes=needed.fixed,
        lane_bytes=needed.lane,
    )
