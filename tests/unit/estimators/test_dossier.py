"""The dossier that is shipped is that of the table that is published."""

from auditor.estimators.dossier import dossier
from auditor.estimators.registry import KINDS
from benchmarks.fidelity.dossier import TABLE, make_dossier
from benchmarks.fidelity.workloads import WORKLOADS


def test_the_shipped_dossier_is_made_of_the_published_table() -> None:
    shipped = dossier()

    assert shipped == make_dossier(TABLE.read_bytes(), shipped.trainings)


def test_every_workload_has_its_regime_and_every_estimator_is_one_of_ours() -> None:
    shipped = dossier()

    assert [one.workload for one in shipped.trainings] == list(WORKLOADS)
    assert {one.estimator for one in shipped.estimators} <= {kind.id for kind in KINDS}


def test_calls_and_intervals_are_counted_where_there_are_intervals_only() -> None:
    for one in dossier().estimators:
        assert one.covered <= one.intervals <= one.rows - one.exact
        assert one.wrong_sign <= one.called <= one.intervals
