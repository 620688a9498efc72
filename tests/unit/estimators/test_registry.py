"""Settings are read by the estimator that they name, and by no other."""

import pytest

from auditor.errors import InputError
from auditor.estimators.auto import Auto, AutoSettings
from auditor.estimators.registry import KINDS, estimator_for, kind_of, resolved
from auditor.estimators.subsampled_replay import SubsampledReplay, SubsampledReplaySettings
from auditor.plan.settings import RECOMMENDED, EstimatorSettings


def test_no_two_estimators_share_a_name() -> None:
    names = [kind.id for kind in KINDS]

    assert len(set(names)) == len(names)
    assert RECOMMENDED.id not in names


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.id)
def test_every_estimator_is_built_from_its_defaults(kind) -> None:
    settings = resolved(EstimatorSettings(id=kind.id))

    assert isinstance(settings, kind.settings)
    assert estimator_for(settings) is not None


def test_default_is_auto() -> None:
    assert resolved(RECOMMENDED) == AutoSettings()
    assert isinstance(estimator_for(RECOMMENDED), Auto)


def test_settings_left_out_have_their_defaults() -> None:
    asked = EstimatorSettings(id="subsampled_replay", fraction=0.25)

    assert resolved(asked) == SubsampledReplaySettings(fraction=0.25)
    assert estimator_for(asked) == SubsampledReplay(fraction=0.25, replicas=8)


def test_own_settings_stay_as_they_are() -> None:
    settings = SubsampledReplaySettings(replicas=3)

    assert resolved(settings) is settings


def test_settings_read_without_their_class_are_the_same() -> None:
    settings = SubsampledReplaySettings(replicas=3)

    read = EstimatorSettings.model_validate_json(settings.model_dump_json())

    assert read == settings
    assert hash(read) == hash(settings)
    assert read != SubsampledReplaySettings(replicas=4)


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"id": "guess"}, "estimator.id"),
        ({"id": "subsampled_replay", "fraction": 2.0}, "estimator.fraction"),
        ({"id": "subsampled_replay", "replicas": 0}, "estimator.replicas"),
        ({"id": "retrain", "fraction": 0.5}, "estimator.fraction"),
        ({"id": "default", "depth": 3}, "estimator.depth"),
    ],
)
def test_what_an_estimator_does_not_have_is_refused_by_field(given, where) -> None:
    with pytest.raises(InputError) as caught:
        resolved(EstimatorSettings.model_validate(given))

    assert caught.value.where == where


def test_an_unknown_estimator_is_told_which_there_are() -> None:
    with pytest.raises(InputError, match="default or one of auto, subsampled_replay"):
        kind_of(EstimatorSettings(id="guess"))
