"""The published table is what the runs say, and says of nothing twice."""

import csv
from typing import Any

import pytest

from benchmarks.fidelity.publish import as_csv, main, merged
from benchmarks.fidelity.rows import FIELDS
from benchmarks.fidelity.summary import summarise
from benchmarks.fidelity.tables import published_table


def row(workload: str, seed: int, estimator: str, **figures: object) -> dict[str, Any]:
    plain = dict.fromkeys(FIELDS) | {
        "workload": workload, "query": "loss", "intervention": "skip", "stage": "first",
        "estimator": estimator, "seed": seed, "pearson": 0.95, "ceiling": 0.96,
        "mean_effect": 0.123456789, "mean_truth": 0.125, "significant": True, "covered": True,
        "sd_rerun": 0.01, "exact_by_construction": False, "cost_examples": 0.5, "cost_wall": 1.0,
    }  # fmt: skip
    return plain | figures


def written(*rows: dict[str, Any], quick: bool = False, complete: bool = True) -> dict[str, Any]:
    runs = [
        {
            "workload": rows[0]["workload"],
            "acceptance": {"auto": {"accepted": 3, "beyond": 1, "unresolved": 0}},
        }
    ]
    return {"quick": quick, "results": {"complete": complete, "rows": list(rows), "runs": runs}}


def test_rows_come_in_the_order_of_workloads_seeds_and_estimators() -> None:
    found, _ = merged([
        written(row("tabular", 0, "auto")),
        written(row("digits_sgd", 1, "retrain")),
        written(row("digits_sgd", 0, "auto"), row("digits_sgd", 0, "retrain")),
    ])  # fmt: skip

    assert [(r["workload"], r["seed"], r["estimator"]) for r in found] == [
        ("digits_sgd", 0, "retrain"), ("digits_sgd", 0, "auto"), ("digits_sgd", 1, "retrain"),
        ("tabular", 0, "auto"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (written(row("tabular", 0, "auto")), "two runs"),
        (written(row("tabular", 1, "auto"), quick=True), "quick"),
        (written(row("tabular", 1, "auto"), complete=False), "interrupted"),
    ],
)
def test_what_is_no_result_of_its_own_is_refused(second: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        merged([written(row("tabular", 0, "auto")), second])


def test_the_file_has_five_digits_and_nothing_where_there_is_no_figure() -> None:
    text = as_csv([row("tabular", 0, "auto")])

    (only,) = csv.DictReader(text.splitlines())
    assert (only["mean_effect"], only["spearman"], only["covered"]) == ("0.12346", "", "True")


def test_the_table_counts_over_seeds() -> None:
    rows, accepted = merged([
        written(row("tabular", 0, "auto"), row("tabular", 0, "retrain", covered=None)),
        written(row("tabular", 1, "auto", covered=False, mean_effect=-0.1)),
    ])  # fmt: skip

    table = published_table(summarise(rows), accepted, seeds={"tabular": [0, 1]})

    _, _, retrain, auto = table.splitlines()
    assert retrain.split(" | ")[4] == "–"
    assert auto == (
        "| tabular (0, 1) | `auto` | 2 (0) | 50 % | 2 (1) | 6 (2) | 50 % (2) | -0.01 | 0.5 |"
    )


@pytest.mark.parametrize("text", ["{", "[]", '{"benchmark": "throughput"}', None])
def test_a_file_that_is_no_run_ends_with_1_and_is_named(text, tmp_path, capsys) -> None:
    path = tmp_path / "f.json"
    if text is not None:
        path.write_text(text)

    assert main([str(path)]) == 1
    assert str(path) in capsys.readouterr().err
