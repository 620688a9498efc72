"""Makes the dossier that reports carry, from the fidelity table and its workloads.

Usage: python -m benchmarks.fidelity.dossier [--check]

Every workload is trained once under the recorder, for its regime; no estimate is computed again.
"""

import argparse
import csv
import json
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from auditor.audit.regime import regime_of
from auditor.edge.folder import read_log
from auditor.estimators.dossier import Dossier, Validated, ValidatedTraining
from auditor.estimators.registry import kind_of
from auditor.plan.settings import EstimatorSettings
from auditor.stagelog.digest import sha256
from benchmarks.fidelity.estimators import ESTIMATORS
from benchmarks.fidelity.recording import train_recorded
from benchmarks.fidelity.workloads import WORKLOADS
from benchmarks.measuring import ROOT

TABLE: Final = ROOT / "benchmarks" / "results" / "fidelity.csv"
TARGET: Final = ROOT / "auditor" / "estimators" / "dossier.json"
MEASURED: Final = "stageaudit 0.1.0 (5933f7e), torch 2.13.0, CPU"
"""What computed the table; change it with the table."""

CsvRow = Mapping[str, str]


def make_dossier(table: bytes, trainings: Sequence[ValidatedTraining]) -> Dossier:
    """Return the dossier of a table in CSV and the trainings it is about."""
    rows = list(csv.DictReader(table.decode().splitlines()))
    by_id: dict[str, list[CsvRow]] = {}
    for row in rows:
        by_id.setdefault(ESTIMATORS[row["estimator"]].id, []).append(row)
    return Dossier(
        table=sha256(table),
        measured=MEASURED,
        trainings=tuple(trainings),
        estimators=tuple(_validated(name, found) for name, found in by_id.items()),
    )


def train_all(names: Iterable[str]) -> list[ValidatedTraining]:
    """Train workloads under the recorder, at seed 0, and return their regimes."""
    found = []
    for name in names:
        print(name, file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder:
            train_recorded(WORKLOADS[name](0, None), Path(folder) / "log")
            log, _, blobs = read_log(Path(folder) / "log")
            found.append(ValidatedTraining(workload=name, regime=regime_of(log, blobs)))
    return found


def as_text(dossier: Dossier) -> str:
    """Return the file's text."""
    plain = dossier.model_dump(mode="json", exclude_none=True)
    return json.dumps(plain, indent=1, sort_keys=True) + "\n"


def main(words: Sequence[str]) -> int:
    """Write the dossier, or compare it with the table; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fidelity.dossier")
    parser.add_argument("--check", action="store_true", help="only say whether it is up to date")
    check = parser.parse_args(words).check
    text = as_text(make_dossier(TABLE.read_bytes(), train_all(WORKLOADS)))
    if check:
        same = TARGET.read_text() == text
        print("up to date" if same else f"{TARGET.relative_to(ROOT)} is not; run without --check")
        return 0 if same else 1
    TARGET.write_text(text)
    return 0


def _validated(name: str, rows: Sequence[CsvRow]) -> Validated:
    inexact = [row for row in rows if row["exact_by_construction"] != "True"]
    # Some rows are from a time when estimators had intervals that are given no more.
    judged = inexact if kind_of(EstimatorSettings(id=name)).interval == "yes" else []
    called = [row for row in judged if row["significant"] == "True"]
    return Validated(
        estimator=name,
        trainings=tuple(dict.fromkeys(row["workload"] for row in rows)),
        rows=len(rows),
        exact=len(rows) - len(inexact),
        intervals=sum(row["covered"] != "" for row in judged),
        covered=sum(row["covered"] == "True" for row in judged),
        called=len(called),
        wrong_sign=sum(float(row["mean_effect"]) * float(row["mean_truth"]) < 0 for row in called),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
