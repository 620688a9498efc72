"""Write the published JSON Schemas from the code that reads the documents.

Usage: python -P docs/reference/generate.py [--check]

With ``--check`` nothing is written; the files that differ are named, and the exit code is 1.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel

from auditor.attest.trust import TrustFile
from auditor.compare.result import Comparison
from auditor.policy.result import GateResult
from auditor.policy.schema import Policy
from auditor.report.reproduction import Reproduction
from auditor.report.review import Review
from auditor.report.schema import Report
from auditor.report.waiver import Waiver
from auditor.stagelog.dataset import EvaluationSet
from auditor.stagelog.log import StageLog

DIALECT = "https://json-schema.org/draft/2020-12/schema"
FOLDER = Path(__file__).parent
SCHEMAS: Mapping[str, type[BaseModel]] = {
    "comparison.schema.json": Comparison,
    "evalset.schema.json": EvaluationSet,
    "gate.schema.json": GateResult,
    "policy.schema.json": Policy,
    "report.schema.json": Report,
    "review.schema.json": Review,
    "waiver.schema.json": Waiver,
    "reproduction.schema.json": Reproduction,
    "stagelog.schema.json": StageLog,
    "trust.schema.json": TrustFile,
}


def schema_text(name: str) -> str:
    """Return the file's text; members of the schema are sorted, so that differences are small."""
    schema = {"$schema": DIALECT, **SCHEMAS[name].model_json_schema(by_alias=True)}
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def stale() -> list[str]:
    """Return the names of files that differ from what would be written."""
    return [
        name
        for name in SCHEMAS
        if not (FOLDER / name).is_file() or (FOLDER / name).read_text() != schema_text(name)
    ]


def main(arguments: Sequence[str]) -> int:
    """Write the files, or say which differ."""
    names = stale()
    if "--check" in arguments:
        sys.stdout.writelines(f"stale: docs/reference/{name}\n" for name in names)
        return 1 if names else 0
    for name in names:
        (FOLDER / name).write_text(schema_text(name))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
