"""The ladder of ``auto``: its rungs, what they share, and how samples are widened."""

from itertools import pairwise

import numpy as np
import pytest

from auditor.estimators.auto import AUTO_FRACTIONS, Auto
from auditor.estimators.base import Question, Sample
from auditor.estimators.retrain import Retrain
from auditor.estimators.subsampled_replay import SubsampledReplay
from auditor.plan.actions import Advance, key_of
from auditor.plan.request import Intervention
from tests.support.manifests import LOG_DIGEST, make_log, make_query

SKIP = Intervention(kind="skip", stage="stage0")


def question(intervention: Intervention = SKIP) -> Question:
    return Question(
        log=make_log(),
        log_digest=LOG_DIGEST,
        intervention=intervention,
        query=make_query(),
        seed=0,
    )


def keys(specs) -> set[str]:
    return {key_of(spec) for spec in specs}


def test_rungs_double_their_examples_up_to_exact_retraining() -> None:
    *replays, last = Auto().rungs

    fractions = [replay.fraction for replay in replays if isinstance(replay, SubsampledReplay)]
    assert tuple(fractions) == AUTO_FRACTIONS
    assert [b / a for a, b in pairwise(fractions)] == [2.0, 2.0]
    assert all(replay.resolutions == 2 and replay.replicas == 1 for replay in replays)
    assert isinstance(last, Retrain)
    assert len(Auto(exact=False).rungs) == len(AUTO_FRACTIONS)


def test_neighbouring_rungs_share_a_resolution() -> None:
    lower, upper = (
        {spec.fraction for spec in rung.actions(question()) if isinstance(spec, Advance)} - {1.0}
        for rung in Auto().rungs[:2]
    )

    assert lower & upper == {AUTO_FRACTIONS[0]}


def test_it_starts_on_the_lowest_rung_and_answers_by_the_last_one_tried() -> None:
    ladder = Auto(path={SKIP.label: (0, 2)})
    other = Intervention(kind="skip", stage="stage1")

    assert ladder.chosen(question()) == ladder.rungs[2]
    assert ladder.chosen(question(other)) == ladder.rungs[0]
    assert keys(ladder.actions(question())) == keys([
        *ladder.rungs[0].actions(question()),
        *ladder.rungs[2].actions(question()),
    ])
    assert keys(ladder.actions(question(other))) == keys(ladder.rungs[0].actions(question(other)))


def test_the_checked_intervention_is_retrained_beside_its_first_rung() -> None:
    ladder = Auto(exactly=SKIP.label)

    assert isinstance(ladder.chosen(question()), Retrain)
    assert keys(ladder.actions(question())) == keys([
        *ladder.rungs[0].actions(question()),
        *Retrain().actions(question()),
    ])


def test_parts_of_the_error_are_multiplied_and_effects_are_not() -> None:
    ones = np.ones((1, 4))
    sample = Sample(effects=3 * ones, deviations=ones, resolution=2 * ones)
    exact = Sample(effects=ones, exact=True)
    ladder = Auto(factors={"loss": 2.5})

    widened = ladder.judged(sample, question())

    assert widened.deviations == pytest.approx(2.5 * ones)
    assert widened.resolution == pytest.approx(5 * ones)
    assert widened.effects == pytest.approx(3 * ones)
    assert ladder.judged(exact, question()) is exact


def test_errors_of_other_effects_go_with_a_sample_and_are_multiplied_too() -> None:
    ones = np.ones((1, 4))
    sample = Sample(effects=3 * ones, deviations=ones, resolution=2 * ones)
    ladder = Auto(factors={"loss": 2.0}, others={(SKIP.label, "loss"): (0.5, 3.0)})

    assert ladder.judged(sample, question()).others == (1.0, 6.0)
    assert Auto(others={("another", "loss"): (1.0,)}).judged(sample, question()).others == ()
