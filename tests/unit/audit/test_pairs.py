"""A probe's rows are compared only where they are about the same examples."""

from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from auditor.audit.pairs import require_pairs
from auditor.audit.questions import Row, questions_of
from auditor.audit.results import BlobValues
from auditor.errors import QueryError
from auditor.plan.actions import ActionKey, key_of
from tests.support.manifests import make_log, make_probe, make_query, make_request
from tests.support.memory_blobs import MemoryBlobs


def row_of(query: Any) -> Row:
    return next(iter(questions_of(make_request(queries=(query,)), make_log())))


def values_of(row: Row, *ids: list[int]) -> BlobValues:
    blobs = MemoryBlobs()
    return BlobValues(
        blobs,
        {
            ActionKey(key_of(question.factual)): blobs.write(
                save({"values": np.zeros(len(own)), "id": np.array(own)})
            )
            for question, own in zip(row.questions, ids, strict=True)
        },
    )


def test_rows_of_the_same_examples_are_pairs() -> None:
    row = row_of(make_probe())

    require_pairs(row, values_of(row, [7, 3, 9], [7, 3, 9]))


@pytest.mark.parametrize(
    ("control", "where"),
    [
        ([7, 9, 3], "query 'cue'.control.id[1]"),
        ([8, 3, 9], "query 'cue'.control.id[0]"),
        ([7, 3], "query 'cue'.of.where"),
        ([7], "query 'cue'.of.where"),
    ],
)
def test_rows_of_other_examples_are_refused(control: list[int], where: str) -> None:
    row = row_of(make_probe())

    with pytest.raises(QueryError) as caught:
        require_pairs(row, values_of(row, [7, 3, 9], control))

    assert caught.value.where == where


def test_query_that_is_no_probe_has_no_pairs() -> None:
    require_pairs(row_of(make_query()), values_of(row_of(make_query()), []))
