"""Manifests of evaluation sets."""

import json

import pytest

from auditor.errors import StageLogError, UnsupportedError
from auditor.stagelog.dataset import EvaluationSet
from auditor.stagelog.digest import canonical_bytes
from auditor.stagelog.evaluation import parse_evaluation_set
from tests.support.manifests import make_dataset

SET = EvaluationSet(name="held-out", dataset=make_dataset())


def test_parse_undoes_canonical_bytes() -> None:
    assert parse_evaluation_set(canonical_bytes(SET)) == SET


@pytest.mark.parametrize("schema", ["stageaudit.evalset.v2", "stageaudit.stagelog.v1", None])
def test_another_format_is_refused(schema: str | None) -> None:
    plain = json.loads(canonical_bytes(SET)) | {"schema": schema}

    with pytest.raises(UnsupportedError, match="schema"):
        parse_evaluation_set(json.dumps(plain).encode())


def test_shards_must_add_up() -> None:
    wrong = SET.model_copy(update={"dataset": SET.dataset.model_copy(update={"examples": 7})})

    with pytest.raises(StageLogError, match=r"dataset\.shards"):
        parse_evaluation_set(canonical_bytes(wrong))
