"""The table of queries agrees with what requests take."""

import json

import pytest
import yaml

from auditor.effects import BY_GROUP, NEEDS_CLASS, QueryKind
from service.cli.queries import QUERIES, QueryRow, queries


def test_queries_lists_every_kind_once() -> None:
    assert [row.kind for row in QUERIES] == list(QueryKind)


@pytest.mark.parametrize("row", QUERIES, ids=lambda row: row.kind.value)
def test_examples_hold_what_a_kind_needs(row: QueryRow) -> None:
    example = yaml.safe_load(row.example)

    assert example["kind"] == row.kind
    assert ("group" in example) == (row.kind in BY_GROUP)
    assert row.kind not in NEEDS_CLASS or {"class", "output"} & set(example)


def test_queries_prints_json_with_units(capsys: pytest.CaptureFixture[str]) -> None:
    queries(as_json=True)

    rows = {row["kind"]: row for row in json.loads(capsys.readouterr().out)["queries"]}
    assert (
        rows["loss"] | {"unit": "nat", "gradient": "yes", "values": "each example"} == rows["loss"]
    )
    assert (rows["auroc"]["gradient"], rows["auroc"]["values"]) == ("no", "all examples")


def test_queries_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    queries(as_json=False)

    assert "equalised_odds" in capsys.readouterr().out
