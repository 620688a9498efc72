"""Data made with another tokenizer or preprocessing than the model's is refused at planning."""

import pytest

from auditor.audit.check import check_request
from auditor.errors import PreconditionError
from auditor.stagelog.dataset import EvaluationSet
from auditor.stagelog.log import StageLog
from tests.support.manifests import (
    CONTROL,
    DATA,
    make_log,
    make_probe,
    make_query,
    make_request,
    make_sets,
    make_stage,
    replace_by_held_out,
)

OWN, OTHER = "a" * 64, "b" * 64


def sets(kind: str, digest: str | None, *, of: str = DATA) -> dict[str, EvaluationSet]:
    found = make_sets()
    dataset = found[of].dataset.model_copy(update={kind: digest})
    return {**found, of: found[of].model_copy(update={"dataset": dataset})}


def log(kind: str, *, stage: int = 2) -> StageLog:
    return make_log(*(make_stage(i, **({kind: OWN} if i == stage else {})) for i in range(3)))


KINDS = pytest.mark.parametrize("kind", ["tokenizer", "preprocessing"])


@KINDS
def test_a_query_of_another_encoding_is_refused_with_both_digests(kind: str) -> None:
    with pytest.raises(PreconditionError) as refused:
        check_request(make_request(), log(kind), sets(kind, OTHER))

    assert refused.value.where == f"queries[0].data.{kind}"
    assert OWN in refused.value.expected
    assert "'stage2'" in refused.value.expected
    assert OTHER in refused.value.found
    assert "stageaudit data from-" in refused.value.remedy


@KINDS
@pytest.mark.parametrize("found", [OWN, None])
def test_equal_or_unknown_encodings_are_accepted(kind: str, found: str | None) -> None:
    check_request(make_request(), log(kind), sets(kind, found))
    check_request(make_request(), make_log(), sets(kind, OTHER))


@KINDS
def test_a_probe_is_refused_for_either_of_its_sets(kind: str) -> None:
    request = make_request(queries=(make_query(), make_probe()))

    with pytest.raises(PreconditionError, match=rf"queries\[1\].of.data.{kind}"):
        check_request(request, log(kind), sets(kind, OTHER, of=CONTROL))


@KINDS
def test_a_reference_is_compared_with_the_stage_it_stands_in_for(kind: str) -> None:
    request = make_request(interventions=(replace_by_held_out("stage1"),))

    with pytest.raises(PreconditionError, match=rf"interventions\[0\].reference.{kind}"):
        check_request(request, log(kind, stage=1), sets(kind, OTHER))


@KINDS
def test_what_the_training_data_names_counts_too(kind: str) -> None:
    plain = make_log()
    train = plain.datasets["train"].model_copy(update={kind: OWN})

    with pytest.raises(PreconditionError, match=OWN):
        check_request(
            make_request(),
            plain.model_copy(update={"datasets": {"train": train}}),
            sets(kind, OTHER),
        )
