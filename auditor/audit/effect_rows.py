"""The rows of effects of a report: figures, verdicts, and what could not be computed."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import final

from auditor.audit.effect_record import effect_of
from auditor.audit.questions import Row
from auditor.audit.results import BlobValues
from auditor.audit.rows import paired
from auditor.effects import Effect, Verdict
from auditor.errors import NumericalError
from auditor.estimators.base import Estimator, Question, Sample
from auditor.estimators.calibration import MULTIPLICITY_ABOVE
from auditor.estimators.interval import Summary, summarise
from auditor.estimators.multiplicity import discoveries
from auditor.estimators.noise import NoiseKind, NoiseSpread, noise_for, noise_spread
from auditor.estimators.registry import BASELINES, resolved
from auditor.estimators.verdict import verdict_of
from auditor.plan.actions import ActionKey, key_of
from auditor.plan.request import AuditRequest
from auditor.report.diagnosis import constant_query, diverges, noise_not_resolved
from auditor.report.schema import Diagnosis, Multiplicity


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    row: Row
    summary: Summary
    moved: bool = False
    baselines: Mapping[str, float] = field(default_factory=dict)
    noise: Mapping[NoiseKind, NoiseSpread] = field(default_factory=dict)


@final
class EffectRows:
    """Gathers the effects of an audit row by row; verdicts follow when all are known.

    Args:
        request: What was asked.
        values: Results of finished actions.
        estimator: What computed the effects.
    """

    def __init__(self, request: AuditRequest, values: BlobValues, *, estimator: Estimator) -> None:
        self._request, self._values, self._estimator = request, values, estimator
        self._settings = resolved(request.estimator)
        self._entries: list[_Entry] = []
        self._diagnoses: list[Diagnosis] = []

    def add(self, row: Row) -> Sample | None:
        """Take in one row and return its sample; None where a computation diverges."""
        try:
            sample = paired([self._estimator.sample(q, self._values) for q in row.questions])
        except NumericalError as error:
            self._diverges(error, row, what="effect")
            unknown = Summary(verdict=Verdict.NOT_RESOLVED)
            self._entries.append(_Entry(row=row, summary=unknown))
            return None
        cluster = self._values.cluster(row.questions[0].factual)
        known = sample.effects.shape[1] > 1  # not only the mean
        self._entries.append(
            _Entry(
                row=row,
                summary=summarise(
                    sample,
                    confidence=self._request.confidence,
                    cluster=cluster if known else None,
                ),
                moved=bool((sample.effects != 0).any()),
                baselines=self._baselines(row),
                noise=self._noise(row),
            )
        )
        return sample

    @property
    def effects(self) -> tuple[Effect, ...]:
        """The rows with their verdicts."""
        discovered = self._discovered()
        return tuple(
            effect_of(
                entry.row,
                self._judged(replace(entry.summary, discovered=known), entry.noise),
                confidence=self._request.confidence,
                sd={kind: spread.sd for kind, spread in entry.noise.items()},
                baselines=entry.baselines,
                examples=self._n(entry.row),
                keys=self._keys(entry.row.questions),
            )
            for entry, known in zip(self._entries, discovered, strict=True)
        )

    @property
    def diagnoses(self) -> tuple[Diagnosis, ...]:
        """What kept figures from being computed, and queries that nothing moves."""
        moved: dict[str, bool] = {}
        for entry in self._entries:
            # A figure that could not be computed says nothing of its query.
            moved[entry.row.query.name] = (
                moved.get(entry.row.query.name, False) or entry.moved or entry.summary.value is None
            )
        constant = []
        for name in (name for name, true in moved.items() if not true):
            row = next(entry.row for entry in self._entries if entry.row.query.name == name)
            constant.append(constant_query(name, examples=self._n(row)))
        return (*self._diagnoses, *constant)

    @property
    def multiplicity(self) -> Multiplicity | None:
        """How false discoveries were controlled; None for few effects."""
        tested = self._tested()
        if len(tested) <= MULTIPLICITY_ABOVE:
            return None
        return Multiplicity(
            method="benjamini-hochberg",
            q=self._q,
            tested=len(tested),
            discovered=sum(discoveries(list(tested.values()), q=self._q)),
        )

    @property
    def _q(self) -> float:
        return round(1 - self._request.confidence, 12)

    def _tested(self) -> dict[int, float]:
        """Return the p-values by position; effects that are exact or lack an interval have none."""
        return {
            position: entry.summary.p_value
            for position, entry in enumerate(self._entries)
            if entry.summary.p_value is not None
        }

    def _discovered(self) -> list[bool]:
        found = [True] * len(self._entries)
        tested = self._tested()
        if len(tested) > MULTIPLICITY_ABOVE:
            outcome = discoveries(list(tested.values()), q=self._q)
            for position, true in zip(tested, outcome, strict=True):
                found[position] = true
        return found

    def _baselines(self, row: Row) -> dict[str, float]:
        found: dict[str, float] = {}
        for name in self._request.baselines if row.has_baselines else ():
            try:
                sample = paired([BASELINES[name].sample(q, self._values) for q in row.questions])
                found[name] = float(sample.effects.mean())
            except NumericalError as error:
                self._diverges(error, row, what=name)
        return found

    def _noise(self, row: Row) -> dict[NoiseKind, NoiseSpread]:
        found: dict[NoiseKind, NoiseSpread] = {}
        for kind in self._request.noise:
            replays = noise_for(kind, self._settings, row.questions[0].log)
            try:
                sample = paired([replays.sample(q, self._values) for q in row.questions])
            except NumericalError as error:
                self._diverges(error, row, what=f"sd_{kind}")
                continue
            found[kind] = noise_spread(sample)
            if not found[kind].resolved:
                self._diagnoses.append(
                    noise_not_resolved(
                        f"sd_{kind}",
                        query=row.query.name,
                        intervention=row.intervention.label,
                        total=found[kind].total,
                        unit=row.query.unit,
                    )
                )
        return found

    def _diverges(self, error: NumericalError, row: Row, *, what: str) -> None:
        label = row.intervention.label
        self._diagnoses.append(diverges(error, query=row.query.name, intervention=label, what=what))

    def _judged(self, summary: Summary, noise: Mapping[NoiseKind, NoiseSpread]) -> Summary:
        verdict = verdict_of(summary, rerun=noise.get("rerun"), confidence=self._request.confidence)
        return replace(summary, verdict=verdict)

    def _n(self, row: Row) -> int:
        return len(self._values.per_example(row.questions[0].factual))

    def _keys(self, questions: tuple[Question, ...]) -> list[ActionKey]:
        specs = [spec for q in questions for spec in self._estimator.actions(q)]
        for kind in self._request.noise:
            replays = noise_for(kind, self._settings, questions[0].log)
            specs += [spec for q in questions for spec in replays.actions(q)]
        return sorted({key_of(spec) for spec in specs})
