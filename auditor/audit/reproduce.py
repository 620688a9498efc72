"""Compute the actions of a signed report again, in the groups that they were computed in."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, final

from auditor.audit.choose import choose
from auditor.audit.effect_rows import EffectRows
from auditor.audit.execute import ActionResult, OnBlock, Worker
from auditor.audit.local import prepare
from auditor.audit.out_of_memory import is_out_of_memory, out_of_memory
from auditor.audit.planning import plan_round
from auditor.audit.questions import Row, questions_of
from auditor.audit.regroup import Regroup, Regrouping
from auditor.audit.results import BlobValues
from auditor.effects import Effect
from auditor.errors import InputError, InternalError
from auditor.estimators.auto import AutoSettings
from auditor.estimators.registry import BASELINES, resolved
from auditor.plan.actions import ActionKey, ActionSpec, dependencies, key_of
from auditor.plan.groups import GroupKeys
from auditor.plan.request import AuditRequest
from auditor.report.execution import Environment, Executions, GroupExecution
from auditor.report.reproduction import Only
from auditor.report.schema import Report
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.digest import Digest, canonical_bytes
from auditor.stagelog.validate import parse_manifest

OnAction = Callable[[int, int], None]
"""Called with (actions done, actions known by now); raising stops the computation."""


class Bench(Protocol):
    """Where groups are executed again."""

    def __call__(self, recorded: Environment | None) -> Worker:
        """Return a worker, set up like the recorded environment as far as this machine allows."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class AgainAction:
    """One action that was computed again.

    Attributes:
        kind: Of its specification.
        result: What it came to.
        ran: How its group was executed now.
        before: Where it ran before; None where the report does not say.
        as_recorded: Whether it ran as the report tells, its inputs too: in exactly the recorded
            group, on the same software and hardware. Then the same bits were to be expected.
    """

    kind: str
    result: Digest
    ran: GroupExecution
    before: Environment | None
    as_recorded: bool


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Again:
    """What a request came to: all of it, or the effects that were wanted."""

    actions: Mapping[ActionKey, AgainAction]
    report: Report | None
    effects: tuple[Effect, ...]


@final
class Reproducer:
    """Computes what a request asks, nothing of it taken from earlier.

    Args:
        request: What the report answers.
        blobs: Holds the log and all data; receives results.
        recorded: How the report's actions ran; None forms groups anew.
        bench: Executes groups.
        max_lanes: How many actions run together at most; None for the recorded groups.
        on_action: Told about progress.

    Raises:
        AuditorError: If the log or the request is not answerable.
    """

    def __init__(
        self,
        request: AuditRequest,
        *,
        blobs: BlobStore,
        recorded: Executions | None,
        bench: Bench,
        max_lanes: int | None,
        on_action: OnAction = lambda _done, _total: None,
    ) -> None:
        self._request, self._blobs, self._bench, self._on_action = request, blobs, bench, on_action
        self._log = prepare(request, blobs)
        read = lru_cache(maxsize=2)(lambda digest: parse_manifest(blobs.read(Digest(digest))))
        self._groups = Regrouping(recorded, group_key=GroupKeys(read), max_lanes=max_lanes)
        self._done: dict[ActionKey, AgainAction] = {}

    def everything(self) -> Again:
        """Compute the whole report.

        Raises:
            ArtifactMissingError: If data are gone.
            AuditorError: If an action fails.
        """
        self._blobs.write(canonical_bytes(self._request))
        while True:
            planned = plan_round(self._request, self._log, self._results, blobs=self._blobs)
            known = {key_of(spec): spec for spec in planned.actions}
            if known.keys() <= self._done.keys():
                break
            self._execute(known)
        written = self._done.pop(planned.report).result
        report = Report.model_validate_json(bytes(self._blobs.read(written)))
        return Again(actions=self._done, report=report, effects=report.effects)

    def some(self, only: Only) -> Again:
        """Compute some effects and actions, and what they need.

        Raises:
            InputError: If an action is not one of the request's.
            ArtifactMissingError: If data are gone.
            AuditorError: If an action fails.
        """
        rows = [row for row in questions_of(self._request, self._log) if _is_in(row, only)]
        if isinstance(resolved(self._request.estimator), AutoSettings):
            self.everything()  # auto decides by all results what answers each effect
            _require_planned(only, self._done)
        else:
            planned = plan_round(self._request, self._log, {}, blobs=self._blobs)
            known = {key_of(spec): spec for spec in planned.actions}
            _require_planned(only, known)
            wanted = self._keys_of(rows, only) & known.keys()
            needed = self._groups.needed(wanted, known=known)
            self._execute({key: spec for key, spec in known.items() if key in needed})
        values = BlobValues(self._blobs, self._results)
        estimator = choose(self._request, self._log, values).estimator
        found = EffectRows(self._request, values, estimator=estimator)
        for row in rows:
            found.add(row)
        return Again(actions=self._done, report=None, effects=found.effects)

    @property
    def _results(self) -> dict[ActionKey, Digest]:
        return {key: action.result for key, action in self._done.items()}

    def _keys_of(self, rows: list[Row], only: Only) -> set[ActionKey]:
        """Return the actions that effects rest on, and those asked for by key."""
        keys = {ActionKey(key) for effect in only.effects for key in effect.action_keys} | only.keys
        for row in rows:
            for question in row.questions:
                keys.add(key_of(question.factual))
                for name in self._request.baselines if row.has_baselines else ():
                    keys |= {key_of(spec) for spec in BASELINES[name].actions(question)}
        return keys

    def _execute(self, known: Mapping[ActionKey, ActionSpec]) -> None:
        """Execute what is not done of some actions, closed under their dependencies."""
        waiting = {key: spec for key, spec in known.items() if key not in self._done}
        while waiting:
            self._on_action(len(known) - len(waiting), len(known))
            group = self._groups.next(waiting, done=self._done.keys())
            results = self._results_of(group, on_block=self._between(known, waiting))
            for spec, result in zip(group.specs, results, strict=True):
                if result.execution is None:
                    raise _unrecorded(spec)
                data = bytes(self._blobs.read(result.execution))
                ran = GroupExecution.model_validate_json(data)
                inputs = [self._done[key].as_recorded for key in dependencies(spec)]
                here = group.whole and ran.environment == group.environment
                self._done[key_of(spec)] = AgainAction(
                    kind=spec.kind,
                    result=result.digest,
                    ran=ran,
                    before=group.environment,
                    as_recorded=here and all(inputs),
                )
                del waiting[key_of(spec)]
        self._on_action(len(known), len(known))

    def _results_of(self, group: Regroup, *, on_block: OnBlock) -> list[ActionResult]:
        """Return the results of a group.

        Raises:
            ResourceError: If it does not fit the device's memory.
        """
        worker = self._bench(group.environment)
        try:
            return worker.execute(group.specs, results=self._results, on_block=on_block)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise out_of_memory(error) from error

    def _between(
        self, known: Mapping[ActionKey, ActionSpec], waiting: Mapping[ActionKey, ActionSpec]
    ) -> Callable[[int, int], None]:
        done, total = len(known) - len(waiting), len(known)
        return lambda _steps, _of: self._on_action(done, total)


def _is_in(row: Row, only: Only) -> bool:
    about = (row.query.name, row.intervention.label)
    return any((effect.query, effect.intervention) == about for effect in only.effects)


def _require_planned(only: Only, planned: Iterable[ActionKey]) -> None:
    """Refuse actions that a report names and its request does not come to.

    Raises:
        InputError: If there is one.
    """
    for key in sorted(only.keys - set(planned)):
        raise InputError(
            "--only",
            expected="an action that the report's request comes to",
            found=f"{key[:16]}, which the report names",
            remedy="The report tells of an action that it cannot rest on: ask who signed it.",
        )


def _unrecorded(spec: ActionSpec) -> InternalError:
    return InternalError(
        f"actions.{spec.kind}",
        expected="a record of how its group was executed",
        found="none",
        remedy="Report this as a bug.",
    )
