"""Makes the published table of what one or more runs of the benchmark wrote with --json.

Usage: python -m benchmarks.fidelity.publish F.json [F.json ...]

Writes benchmarks/results/fidelity.csv, all rows in the order of workloads, seeds and estimators,
and prints the table of RESULTS.md. Two files with the same workload, seed and estimator are
refused: which of two results is published is nothing that a program should choose.
"""

import argparse
import csv
import io
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.fidelity.dossier import TABLE
from benchmarks.fidelity.estimators import ESTIMATORS
from benchmarks.fidelity.rows import FIELDS, Row
from benchmarks.fidelity.summary import summarise
from benchmarks.fidelity.tables import published_table
from benchmarks.fidelity.workloads import WORKLOADS

Acceptances = dict[tuple[str, str], dict[str, int]]


def merged(documents: Iterable[Mapping[str, Any]]) -> tuple[list[Row], Acceptances]:
    """Return all rows in order, and what ``auto`` accepted by workload and estimator.

    Args:
        documents: What runs wrote with ``--json``.

    Raises:
        ValueError: If a run was interrupted, was a quick one, or two have the same results.
    """
    cells: dict[tuple[str, int, str], list[Row]] = defaultdict(list)
    accepted: Acceptances = defaultdict(lambda: defaultdict(int))
    for document in documents:
        if document["quick"] or not document["results"]["complete"]:
            raise ValueError("a quick or interrupted run is not published; run it to its end")
        found: dict[tuple[str, int, str], list[Row]] = defaultdict(list)
        for row in document["results"]["rows"]:
            found[row["workload"], row["seed"], row["estimator"]].append(row)
        if twice := found.keys() & cells.keys():
            raise ValueError(f"two runs of {sorted(twice)[0]}; leave one of their files out")
        cells |= found
        for run in document["results"]["runs"]:
            for estimator, counts in run["acceptance"].items():
                for name, count in counts.items():
                    accepted[run["workload"], estimator][name] += count
    workloads, estimators = list(WORKLOADS), list(ESTIMATORS)
    order = sorted(
        cells, key=lambda cell: (workloads.index(cell[0]), cell[1], estimators.index(cell[2]))
    )
    return [row for cell in order for row in cells[cell]], accepted


def as_csv(rows: Iterable[Row]) -> str:
    """Return rows with five digits, nothing where there is no figure."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(FIELDS)
    writer.writerows([_cell(row[name]) for name in FIELDS] for row in rows)
    return text.getvalue()


def main(words: Sequence[str]) -> int:
    """Write the rows, print the table; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fidelity.publish")
    parser.add_argument("files", nargs="+", type=Path, metavar="F.json")
    files = parser.parse_args(words).files
    try:
        rows, accepted = merged(map(_document, files))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    TABLE.write_text(as_csv(rows))
    print(published_table(summarise(rows), accepted, seeds=_seeds(rows)))
    return 0


def _document(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(found, dict) or found.get("benchmark") != "fidelity":
        raise ValueError(f"{path} was not written by python -m benchmarks.fidelity --json")
    return found


def _seeds(rows: Iterable[Row]) -> dict[str, list[int]]:
    found: dict[str, dict[int, None]] = defaultdict(dict)
    for row in rows:
        found[row["workload"]][row["seed"]] = None
    return {workload: list(seeds) for workload, seeds in found.items()}


def _cell(value: object) -> object:
    match value:
        case None:
            return ""
        case bool():
            return value
        case float():
            return f"{value:.5g}"
        case _:
            return value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
