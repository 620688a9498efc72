"""Which files a report is about, and what they are called whoever signs it."""

from typing import Final, Literal

from auditor.attest.statement import Subject
from auditor.report.schema import Report

LOG_SUBJECT: Final = "stagelog.json"
EXAMPLES_SUBJECT: Final = "examples.safetensors"
REPAIRED_SUBJECT: Final = "repaired.safetensors"


def report_subjects(
    report: Report, *, model_format: Literal["safetensors", "onnx"] | None
) -> tuple[Subject, ...]:
    """Return the log's manifest, the model, a repaired model, per-example effects; what there is.

    Subjects are files that people hold. Without an artifact the report is about the log's final
    checkpoint, which the manifest names, so that the manifest is subject enough; a repair names
    the checkpoint too, because it says what the repaired model was made from.

    Args:
        report: The report.
        model_format: How the model artifact is written; None when none was given.
    """
    subjects = [Subject(name=LOG_SUBJECT, digest=report.log.digest)]
    if model_format is not None:
        subjects.append(Subject(name=f"model.{model_format}", digest=report.model.digest))
    elif report.repair is not None:
        subjects.append(Subject(name="model.safetensors", digest=report.model.digest))
    if report.repair is not None:
        subjects.append(Subject(name=REPAIRED_SUBJECT, digest=report.repair.model.digest))
    if report.examples is not None:
        subjects.append(Subject(name=EXAMPLES_SUBJECT, digest=report.examples.digest))
    return tuple(subjects)
