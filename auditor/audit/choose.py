"""``auto``: how far up its ladder each intervention is answered, from what is finished so far.

A pure function of the request, the log and the finished results, called in every round: it asks for
the next rung of each intervention whose rung below missed the tolerance, until all are answered or
the budget ends. One counterfactual serves every query, so that an intervention is answered when all
of its queries are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import final

from auditor.audit.cost import gradient_examples
from auditor.audit.questions import Row, questions_of
from auditor.audit.rows import paired
from auditor.effects import Verdict
from auditor.errors import NumericalError, PreconditionError
from auditor.estimators.auto import AUTO_FRACTIONS, CHECK_SHARE, Auto, AutoSettings
from auditor.estimators.base import Estimator, Finished, Question, Sample
from auditor.estimators.interval import Summary, error_scale, summarise
from auditor.estimators.registry import estimator_for, resolved
from auditor.estimators.retrain import Retrain
from auditor.estimators.subsampled_replay import SubsampledReplay
from auditor.estimators.whole_batches import needs_whole_batches
from auditor.plan.actions import ActionSpec, key_of
from auditor.plan.request import AuditRequest
from auditor.plan.sampling import has_two_resolutions
from auditor.report.schema import Choice
from auditor.stagelog.log import StageLog


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """The estimator of an audit as far as it is known.

    Args:
        estimator: Answers every question once ``complete``.
        complete: Whether no further round can change it.
        choices: What ``auto`` decided for each intervention; empty for other estimators.
    """

    estimator: Estimator
    complete: bool
    choices: tuple[Choice, ...] = ()


def choose(request: AuditRequest, log: StageLog, values: Finished) -> Chosen:
    """Return the estimator that answers the request's interventions.

    Args:
        request: A request that was checked.
        log: Its log.
        values: Results of finished actions.

    Raises:
        PreconditionError: If the budget is below what the smallest replay costs.
    """
    settings = resolved(request.estimator)
    if not isinstance(settings, AutoSettings):
        return Chosen(estimator=estimator_for(settings), complete=True)
    rows = list(questions_of(request, log))
    by_label: dict[str, list[Row]] = {}
    for row in rows:
        by_label.setdefault(row.intervention.label, []).append(row)
    judge = _Judge(values=values, confidence=request.confidence, tolerance=settings.tolerance)
    ladder = _ladder(settings, rows, log)
    if not judge.is_finished(ladder, rows):
        return Chosen(estimator=ladder, complete=False)
    ladder = _climbed(ladder, by_label, judge=judge)
    choices = tuple(
        Choice(
            intervention=label,
            answered_by=_name(ladder, own[0].questions[0]),
            within_tolerance=judge.is_within(ladder, own),
            tolerance=settings.tolerance,
        )
        for label, own in by_label.items()
    )
    complete = judge.is_finished(ladder, rows)
    return Chosen(estimator=ladder, complete=complete, choices=choices)


def _climbed(ladder: Auto, by_label: Mapping[str, list[Row]], *, judge: "_Judge") -> Auto:
    """Return the ladder with the rungs that each intervention needs, as far as is known.

    Rung by rung: what came to one is judged together, because each error tells of the others, and
    only once all of it is finished.
    """
    path: dict[str, tuple[int, ...]] = dict.fromkeys(by_label, (0,))
    top = len(ladder.rungs) - 1
    for rung in range(top + 1):
        here = {label: rows for label, rows in by_label.items() if path[label][-1] == rung}
        members = [row for rows in here.values() for row in rows]
        ladder = replace(ladder, path=dict(path))
        if not judge.is_finished(ladder, members):
            return ladder
        ladder = replace(ladder, others={**ladder.others, **judge.others(ladder, rung, members)})
        if rung == 0:
            checked = by_label.get(ladder.exactly or "", [])
            ladder = replace(ladder, factors=judge.factors(ladder, checked))
        for label, rows in here.items():
            if rung == top or label == ladder.exactly or judge.is_within(ladder, rows):
                continue
            needed = ladder.fractions[rung] * judge.excess(ladder, rows)
            path[label] = (*path[label], _next(ladder, rung, needed=needed))
    return ladder


def _next(ladder: Auto, rung: int, *, needed: float) -> int:
    """Return the rung to try after one that is too coarse.

    Heat, and with it the error, falls as 1 / b; where none is enough the top one must do.
    """
    enough = [i for i, f in enumerate(ladder.fractions) if i > rung and f >= needed]
    return enough[0] if enough else len(ladder.rungs) - 1


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class _Judge:
    """What the finished results say about the rungs of a ladder."""

    values: Finished
    confidence: float
    tolerance: float

    def is_finished(self, ladder: Auto, rows: Sequence[Row]) -> bool:
        specs = (spec for row in rows for q in row.questions for spec in ladder.actions(q))
        return all(self.values.has(spec) for spec in specs)

    def is_within(self, ladder: Auto, rows: Sequence[Row]) -> bool:
        """Say whether every row's interval is within the tolerance."""
        return self.is_finished(ladder, rows) and self.excess(ladder, rows) <= 1

    def excess(self, ladder: Auto, rows: Sequence[Row]) -> float:
        """Return half of an interval over what the tolerance allows, of the worst row."""
        summaries = [self._summary(ladder, row) for row in rows]
        return max(
            _half_width(summary) / (self.tolerance * max(1.0, abs(summary.value or 0.0)))
            for summary in summaries
        )

    def others(
        self, ladder: Auto, rung: int, rows: Sequence[Row]
    ) -> dict[tuple[str, str], tuple[float, ...]]:
        """Return by intervention and query the scales of the other errors at a rung."""
        scales: dict[str, dict[str, float]] = {}
        for row in rows:
            sample = self._sample(ladder.rungs[rung], row)
            scale = None if sample is None or sample.exact else error_scale(sample)
            if scale is not None:
                scales.setdefault(_query_name(row), {})[row.intervention.label] = scale
        return {
            (label, query): tuple(scale for other, scale in known.items() if other != label)
            for query, known in scales.items()
            for label in known
        }

    def factors(self, ladder: Auto, checked: Sequence[Row]) -> dict[str, float]:
        """Return by query how much wider the interval of the first rung had to be, at least 1."""
        factors: dict[str, float] = {}
        for row in checked:
            first = self._sample(ladder.rungs[0], row)
            if first is None:
                continue
            judged = ladder.judged(first, row.questions[0])
            estimate = summarise(judged, confidence=self.confidence)
            truth = self._summary(Retrain(), row)
            half = _half_width(estimate)
            if truth.value is None or estimate.value is None or not 0 < half < inf:
                continue
            name = _query_name(row)
            error = abs(estimate.value - truth.value)
            factors[name] = max(factors.get(name, 1.0), error / half)
        return factors

    def _summary(self, estimator: Estimator, row: Row) -> Summary:
        sample = self._sample(estimator, row)
        if sample is None:
            return Summary(verdict=Verdict.NOT_RESOLVED)
        return summarise(sample, confidence=self.confidence)

    def _sample(self, estimator: Estimator, row: Row) -> Sample | None:
        """Return an estimator's sample of a row; None where it diverges: another may not."""
        try:
            return paired([estimator.sample(q, self.values) for q in row.questions])
        except NumericalError:
            return None


def _query_name(row: Row) -> str:
    """Return the name by which an estimator knows the row's query, a probe's too."""
    return row.questions[0].query.name


def _half_width(summary: Summary) -> float:
    if summary.low is None or summary.high is None:
        return inf
    return (summary.high - summary.low) / 2


def _ladder(settings: AutoSettings, rows: Sequence[Row], log: StageLog) -> Auto:
    """Return the rungs that the budget allows, should every intervention need the last of them."""
    if needs_whole_batches(log):
        return Auto(fractions=())
    questions = [question for row in rows for question in row.questions]
    whole = _cost([Retrain()], questions, log)
    if whole == 0:
        return Auto()
    check, share = _cheapest(rows, log, whole=whole)
    rungs = tuple(f for f in AUTO_FRACTIONS if has_two_resolutions(f, log))
    if settings.budget is None:
        return Auto(fractions=rungs, exactly=check if share <= CHECK_SHARE else None)
    checked = check if share <= CHECK_SHARE * settings.budget else None
    budget = settings.budget - (share if checked else 0.0)
    fractions = [f for f in rungs if _up_to(f, questions, log) / whole <= budget]
    if len(fractions) < 2:  # one rung, as high as the budget reaches
        if settings.budget >= 1:  # few examples a step: retraining costs less than replays
            return Auto(fractions=())
        fractions = [_largest(questions, log, affordable=budget * whole, settings=settings)]
    replays = Auto(fractions=tuple(fractions), exact=False)
    exact = _cost(replays.rungs, questions, log) / whole + 1 <= budget
    return replace(replays, exact=exact, exactly=checked)


def _up_to(top: float, questions: Sequence[Question], log: StageLog) -> int:
    used = tuple(fraction for fraction in AUTO_FRACTIONS if fraction <= top)
    return _cost(Auto(fractions=used, exact=False).rungs, questions, log)


def _largest(
    questions: Sequence[Question], log: StageLog, *, affordable: float, settings: AutoSettings
) -> float:
    """Return the largest b / B, at least 2 / B, whose rung is affordable.

    Raises:
        PreconditionError: If there is none.
    """
    size = max(stage.examples_per_step or 1 for stage in log.stages)
    least = _cost([Retrain()], questions, log)  # where steps have too few examples for a rung
    for used in range(int(AUTO_FRACTIONS[-1] * size), 1, -1):
        if not has_two_resolutions(used / size, log):
            break
        least = _cost(Auto(fractions=(used / size,), exact=False).rungs, questions, log)
        if least <= affordable:
            return used / size
    raise PreconditionError(
        "estimator.budget",
        expected="a budget for two examples of each step and one of them again"
        + (f", {(settings.budget or 0) * least / affordable:.3g}" if affordable > 0 else ""),
        found=settings.budget,
        remedy="Raise the budget, ask for fewer interventions, or use task_vector.",
    )


def _cost(estimators: Sequence[Estimator], questions: Sequence[Question], log: StageLog) -> int:
    specs: dict[str, ActionSpec] = {
        key_of(spec): spec for e in estimators for q in questions for spec in e.actions(q)
    }
    return gradient_examples(specs.values(), log)


def _cheapest(rows: Sequence[Row], log: StageLog, *, whole: int) -> tuple[str | None, float]:
    """Return the intervention that is cheapest to retrain, and its part of the whole cost."""
    costs = {row.intervention.label: _cost([Retrain()], row.questions, log) / whole for row in rows}
    real = {label: cost for label, cost in costs.items() if cost > 0}
    if len(real) < 2:
        return None, 0.0
    label = min(real, key=lambda name: (real[name], name))
    return label, real[label]


def _name(ladder: Auto, question: Question) -> str:
    chosen = ladder.chosen(question)
    if isinstance(chosen, SubsampledReplay):
        return f"subsampled_replay, {chosen.fraction:.3g} of the examples"
    return "retrain"
