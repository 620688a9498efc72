"""The manifest of an evaluation set: parse and check it."""

from auditor.errors import UnsupportedError
from auditor.stagelog.dataset import EVALSET_SCHEMA, EvaluationSet
from auditor.stagelog.rules_datasets import check_dataset
from auditor.stagelog.strict_json import load_object, parse_record


def parse_evaluation_set(data: bytes | memoryview) -> EvaluationSet:
    """Return the evaluation set that a manifest describes, cross-field rules included.

    Raises:
        StageLogError: If the bytes are not such a manifest.
        UnsupportedError: If it is of another version of the format.
    """
    where = "evalset.json"
    plain = load_object(data, where=where)
    if plain.get("schema") != EVALSET_SCHEMA:
        raise UnsupportedError(
            f"{where}: schema",
            expected=EVALSET_SCHEMA,
            found=plain.get("schema"),
            remedy="Write it with auditor.record.evalset, or upgrade stageaudit if it is newer.",
        )
    evaluation_set = parse_record(EvaluationSet, data, where=where)
    check_dataset(evaluation_set.dataset, where="dataset")
    return evaluation_set
