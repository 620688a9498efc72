"""``auto`` climbs its ladder within a budget until the measured error is within the tolerance."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import pytest

from auditor.audit.choose import Chosen, choose
from auditor.audit.cost import gradient_examples
from auditor.audit.local import LocalProgress, run_audit
from auditor.audit.questions import questions_of
from auditor.effects import Better, Query, QueryKind
from auditor.errors import NumericalError, PreconditionError
from auditor.estimators.auto import AUTO_FRACTIONS, CHECK_SHARE, Auto, AutoSettings
from auditor.estimators.base import Finished, Floats
from auditor.estimators.retrain import Retrain, RetrainSettings
from auditor.plan.actions import (
    ActionSpec,
    Advance,
    Computed,
    Evaluate,
    Project,
    Sweep,
    key_of,
)
from auditor.plan.request import AuditRequest, Intervention
from auditor.plan.settings import EstimatorSettings
from auditor.report.schema import Report
from auditor.stagelog.digest import canonical_bytes
from auditor.stagelog.log import StageLog
from tests.support.builders import RecordedRun, make_stage_log
from tests.support.manifests import make_log, make_request, make_stage
from tests.support.memory_index import MemoryIndex

EFFECT, RECORDED = 0.5, 2.0
SKIPS = tuple(Intervention(kind="skip", stage=f"stage{i}") for i in range(3))
Error = Callable[[float], float]
"""b / B -> how far replays end from the recorded run."""


@dataclass
class Known(Finished):
    """Results of everything that was asked for: an effect of 0.5, and replays that err as told."""

    error: Error
    true_effect: float = EFFECT
    replayed_effect: float = EFFECT
    diverging: tuple[float, ...] = ()
    known: dict[str, ActionSpec] = field(default_factory=dict)

    def learn(self, specs: Iterable[ActionSpec]) -> None:
        self.known |= {key_of(spec): spec for spec in specs}

    def has(self, spec: ActionSpec) -> bool:
        return key_of(spec) in self.known

    def per_example(self, spec: Evaluate | Project) -> Floats:
        assert isinstance(spec, Evaluate)
        chain = self._chain(spec)
        fraction = min((own.fraction for own in chain), default=1.0)
        if fraction in self.diverging:
            raise NumericalError("steps", expected="finite", found="NaN", remedy="Change it.")
        changed = any(own.intervention is not None for own in chain)
        if changed:
            return np.full(
                4, RECORDED - (self.true_effect if fraction == 1.0 else self.replayed_effect)
            )
        return np.full(4, RECORDED - (0.0 if fraction == 1.0 else self.error(fraction)))

    def per_step(self, spec: Sweep) -> Floats:
        raise AssertionError(spec)

    def _chain(self, spec: Evaluate) -> list[Advance]:
        chain: list[Advance] = []
        state = spec.state
        while isinstance(state, Computed):
            action = self.known[state.key]
            assert isinstance(action, Advance)
            chain.append(action)
            state = action.start
        return chain


def climbed(request: AuditRequest, log: StageLog, values: Known) -> tuple[Chosen, int]:
    """Return the last choice and after how many rounds of executing all that it asks for."""
    questions = [q for row in questions_of(request, log) for q in row.questions]
    for rounds in range(10):
        chosen = choose(request, log, values)
        if chosen.complete:
            return chosen, rounds
        values.learn(spec for q in questions for spec in chosen.estimator.actions(q))
    raise AssertionError("it does not end")


def large_log(*, batch: int = 64) -> StageLog:
    return make_log(*(make_stage(i, examples_per_step=batch) for i in range(3)))


def auto(**settings: float) -> AuditRequest:
    return make_request(interventions=SKIPS[:1], estimator=AutoSettings(**settings))


def answers(chosen: Chosen) -> list[tuple[str, bool]]:
    return [(choice.answered_by, choice.within_tolerance) for choice in chosen.choices]


def path_of(chosen: Chosen, intervention: Intervention = SKIPS[0]) -> tuple[int, ...]:
    assert isinstance(chosen.estimator, Auto)
    return chosen.estimator.path[intervention.label]


def test_other_estimators_are_chosen_at_once() -> None:
    request = make_request(estimator=RetrainSettings())

    chosen = choose(request, make_log(), Known(error=lambda _: 0.0))

    assert chosen.complete
    assert isinstance(chosen.estimator, Retrain)
    assert chosen.choices == ()


def test_first_rung_answers_where_it_is_within_the_tolerance() -> None:
    chosen, rounds = climbed(auto(tolerance=1.0), large_log(), Known(error=lambda _: 0.01))

    assert rounds == 1
    assert path_of(chosen) == (0,)
    assert answers(chosen) == [("subsampled_replay, 0.0625 of the examples", True)]
    assert chosen.choices[0].tolerance == 1.0


def test_next_rung_is_asked_for_where_it_promises_enough() -> None:
    # Half an interval is 2 t_3 e = 4.7 e at 90 %, with e the distance of the factual replay.
    values = Known(error=lambda fraction: 0.1 / (16 * fraction))

    chosen, rounds = climbed(auto(tolerance=0.3), large_log(), values)

    assert rounds == 2
    assert path_of(chosen) == (0, 1)
    assert answers(chosen) == [("subsampled_replay, 0.125 of the examples", True)]


def test_rungs_that_cannot_be_enough_are_left_out() -> None:
    values = Known(error=lambda fraction: 0.1 / (16 * fraction))
    chosen, rounds = climbed(auto(tolerance=0.13), large_log(), values)

    assert (rounds, path_of(chosen)) == (2, (0, 2))

    far = Known(error=lambda _: 5.0)
    chosen, rounds = climbed(auto(tolerance=0.01), large_log(), far)

    assert (rounds, path_of(chosen)) == (2, (0, 3))
    assert answers(chosen) == [("retrain", True)]
    fractions = {own.fraction for own in far.known.values() if isinstance(own, Advance)}
    assert fractions == {1.0, 1 / 16, 1 / 32}


def test_errors_that_do_not_fall_lead_to_the_top() -> None:
    chosen, _ = climbed(auto(tolerance=0.3), large_log(), Known(error=lambda _: 0.1))

    assert path_of(chosen) == (0, 1, 2, 3)
    assert answers(chosen) == [("retrain", True)]


def test_it_says_when_the_budget_ends_before_the_tolerance() -> None:
    values = Known(error=lambda _: 0.1)

    chosen, _ = climbed(auto(tolerance=0.3, budget=1.0), large_log(), values)

    assert answers(chosen) == [("subsampled_replay, 0.25 of the examples", False)]


def test_tolerance_is_relative_to_large_effects() -> None:
    # Half an interval is 0.47 for each.
    small = Known(error=lambda _: 0.1)
    large = Known(error=lambda _: 0.1, replayed_effect=-10.0)

    assert path_of(climbed(auto(tolerance=0.05), large_log(), small)[0]) != (0,)
    assert path_of(climbed(auto(tolerance=0.05), large_log(), large)[0]) == (0,)


@pytest.mark.parametrize("budget", [None, 1.0])
def test_a_rung_that_diverges_is_followed_by_another(budget: float | None) -> None:
    settings = AutoSettings(tolerance=1.0, budget=budget)
    request = make_request(interventions=SKIPS[:1], estimator=settings)
    values = Known(error=lambda _: 0.01, diverging=AUTO_FRACTIONS[:1])

    chosen, rounds = climbed(request, large_log(), values)

    assert rounds == 2
    assert path_of(chosen)[-1] > 0
    assert chosen.choices[0].within_tolerance


def test_no_check_where_the_cheapest_retraining_is_a_large_part_of_all() -> None:
    request = make_request(interventions=SKIPS, estimator=AutoSettings(tolerance=1.0))

    chosen, _ = climbed(request, large_log(), Known(error=lambda _: 0.01))

    # Skipping stage0 executes two stages, stage1 one, stage2 none.
    assert isinstance(chosen.estimator, Auto)
    assert chosen.estimator.exactly is None
    assert [path_of(chosen, skip) for skip in SKIPS] == [(0,)] * 3


def check_log() -> StageLog:
    """Return a log whose last stage is short: leaving out the one before it costs 1 in 42."""
    return make_log(
        make_stage(0, steps=200, examples_per_step=64),
        make_stage(1, first_step=200, end_step=400, examples_per_step=64),
        make_stage(
            2,
            first_step=400,
            end_step=405,
            examples_per_step=64,
            checkpoints=(make_stage(0, steps=405).checkpoints),
        ),
    )


def check_request(**settings: float) -> AuditRequest:
    return make_request(interventions=SKIPS[:2], estimator=AutoSettings(**settings))


def test_a_check_that_finds_a_larger_error_widens_intervals() -> None:
    agreeing, wrong = (Known(error=lambda _: 0.01, true_effect=true) for true in (0.5, 0.9))

    trusted, _ = climbed(check_request(tolerance=0.2), check_log(), agreeing)
    doubted, _ = climbed(check_request(tolerance=0.2), check_log(), wrong)

    assert isinstance(trusted.estimator, Auto)
    assert isinstance(doubted.estimator, Auto)
    assert trusted.estimator.exactly == doubted.estimator.exactly == SKIPS[1].label
    assert trusted.estimator.factors == {"loss": 1.0}
    # The error 0.4 over half an interval of 2 t_3 0.01 at 90 %.
    assert doubted.estimator.factors["loss"] == pytest.approx(0.4 / (2 * 2.3534 * 0.01), rel=1e-3)
    assert path_of(trusted) == (0,)
    assert path_of(doubted)[-1] > 0
    # The checked intervention has been retrained: that is its answer.
    assert dict(zip([c.intervention for c in doubted.choices], answers(doubted), strict=True))[
        SKIPS[1].label
    ] == ("retrain", True)


@pytest.mark.parametrize("batch", [2, 4, 8, 16, 64, 500])
@pytest.mark.parametrize("budget", [0.02, 0.1, 0.2, 0.4, 0.7, 1.0, 1.3, 2.0, 4.0])
def test_it_never_costs_more_than_its_budget(budget: float, batch: int) -> None:
    # Errors that are never small enough make it execute every rung that it may.
    request, log = auto(tolerance=1e-6, budget=budget), large_log(batch=batch)
    for error in (lambda _: 1e-3, lambda fraction: 1e-6 / fraction, lambda _: 9.0):
        values = Known(error=error)
        try:
            climbed(request, log, values)
        except PreconditionError:
            assert budget < 1  # else there is always retraining
            continue
        retraining = 2 * 10 * batch  # the stages after the skipped one
        assert 0 < gradient_examples(values.known.values(), log) <= budget * retraining


@pytest.mark.parametrize("budget", [0.1, 0.2, 0.5, 1.1, 1.5])
def test_nor_does_it_with_a_check(budget: float) -> None:
    request, log = check_request(tolerance=1e-6, budget=budget), check_log()
    values = Known(error=lambda _: 1e-4)

    chosen, _ = climbed(request, log, values)

    assert isinstance(chosen.estimator, Auto)
    retraining = (200 + 5 + 5) * 64
    assert gradient_examples(values.known.values(), log) <= budget * retraining
    assert (chosen.estimator.exactly is not None) == (CHECK_SHARE * budget >= 5 / 210)


def test_a_budget_between_rungs_has_one_of_its_own() -> None:
    chosen, _ = climbed(auto(tolerance=1.0, budget=0.2), large_log(), Known(error=lambda _: 0.01))

    assert isinstance(chosen.estimator, Auto)
    # (b + b/2) of 64 twice, for the factual replay: 4 of them cost 0.19, 5 would cost 0.22.
    assert chosen.estimator.fractions == (4 / 64,)
    assert not chosen.estimator.exact


def test_a_budget_below_the_least_replay_is_refused_with_what_it_takes() -> None:
    with pytest.raises(PreconditionError) as refused:
        choose(auto(budget=0.05), large_log(), Known(error=lambda _: 0.0))

    assert "0.0938" in refused.value.expected  # (2 + 1) / 64, twice
    accepted = choose(auto(budget=0.0938), large_log(), Known(error=lambda _: 0.0))
    assert isinstance(accepted.estimator, Auto)
    assert accepted.estimator.fractions == (2 / 64,)


def test_the_least_is_retraining_where_steps_have_few_examples() -> None:
    with pytest.raises(PreconditionError) as refused:
        choose(auto(budget=0.5), large_log(batch=4), Known(error=lambda _: 0.0))

    assert refused.value.expected.endswith(", 1")


def test_retraining_answers_where_replays_of_few_examples_cost_more() -> None:
    chosen, rounds = climbed(
        auto(tolerance=0.01, budget=1.0), large_log(batch=2), Known(error=lambda _: 9.0)
    )

    assert rounds == 1
    assert answers(chosen) == [("retrain", True)]


def test_nothing_to_retrain_costs_nothing() -> None:
    request = make_request(interventions=SKIPS[2:], estimator=AutoSettings(budget=0.001))

    chosen, _ = climbed(request, large_log(), Known(error=lambda _: 9.0))

    assert [within for _, within in answers(chosen)] == [True]


def audited(
    recorded: RecordedRun, estimator: EstimatorSettings, *, index: MemoryIndex
) -> tuple[Report, list[LocalProgress]]:
    recorded.blobs.write(canonical_bytes(recorded.log))
    query = Query(name="loss", kind=QueryKind.LOSS, better=Better.LOWER, data=recorded.evaluation)
    request = AuditRequest(
        log=recorded.digest, interventions=SKIPS, queries=(query,), estimator=estimator
    )
    seen: list[LocalProgress] = []
    report = run_audit(
        request,
        blobs=recorded.blobs,
        index=index,
        device="cpu",
        max_lanes=1,  # lanes of other batches agree to rounding only
        on_progress=seen.append,
    )
    return report, seen


def test_whole_audits_answer_by_the_first_rung_or_exactly() -> None:
    recorded = make_stage_log(stages=3, steps=4, batch=16, optimizer="adamw")
    index = MemoryIndex()

    loose, _ = audited(recorded, AutoSettings(tolerance=1e6), index=index)
    tight, _ = audited(recorded, AutoSettings(tolerance=1e-9), index=index)
    finished = dict(index.entries)
    again, executed = audited(recorded, AutoSettings(tolerance=1e-9), index=index)
    truth, _ = audited(recorded, RetrainSettings(), index=MemoryIndex())

    # Of 16 examples a step, half of 1 / 8 is one example, too few for Adam: 1 / 4 is the first.
    first = f"subsampled_replay, {AUTO_FRACTIONS[2]:.3g} of the examples"
    assert [choice.answered_by for choice in loose.estimator.choices] == [first] * 3
    assert all(choice.within_tolerance for choice in loose.estimator.choices)
    of_tight = {choice.intervention: choice for choice in tight.estimator.choices}
    assert of_tight[SKIPS[0].label].answered_by == "retrain"
    assert of_tight[SKIPS[1].label].answered_by == "retrain"
    assert all(choice.within_tolerance for choice in of_tight.values())
    for found, exact in zip(tight.effects, truth.effects, strict=True):
        assert (found.value, found.low, found.high) == (exact.value, exact.low, exact.high)
        assert found.exact_by_construction
    assert not loose.effects[0].exact_by_construction
    assert again == tight
    assert index.entries == finished
    assert executed == []


def test_effects_that_came_to_a_rung_know_of_each_others_errors() -> None:
    interventions = tuple(
        Intervention(kind="fade", stage=f"stage{stage}", alpha=alpha)
        for stage in range(2)
        for alpha in (0.25, 0.5, 0.75)
    )
    request = make_request(interventions=interventions, estimator=AutoSettings(tolerance=1.0))

    chosen, _ = climbed(request, large_log(), Known(error=lambda _: 0.01))

    assert isinstance(chosen.estimator, Auto)
    assert set(chosen.estimator.path.values()) == {(0,)}
    query = request.queries[0].name
    for intervention in interventions:
        others = chosen.estimator.others[intervention.label, query]
        assert others == pytest.approx([0.01] * 5)
