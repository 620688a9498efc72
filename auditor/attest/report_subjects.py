"""Which files a report is about, and what they are called whoever signs it."""

from typing import Final, Literal

from auditor.attest.statement import Subject
from auditor.report.schema import Report

LOG_SUBJECT: Final = "stagelog.json"
PARAMETERS_SUBJECT: Final = "final-parameters.safetensors"
EXAMPLES_SUBJECT: Final = "examples.safetensors"


def report_subjects(
    report: Report, *, model_format: Literal["safetensors", "onnx"] | None
) -> tuple[Subject, ...]:
    """Return the log's manifest, the model, and the per-example effects if there are any.

    Args:
        report: The report.
        model_format: How the model artifact is written; None when the report is about the log's
            final checkpoint, which is then the subject.
    """
    model = PARAMETERS_SUBJECT if model_format is None else f"model.{model_format}"
    subjects = [
        Subject(name=LOG_SUBJECT, digest=report.log.digest),
        Subject(name=model, digest=report.model.digest),
    ]
    if report.examples is not None:
        subjects.append(Subject(name=EXAMPLES_SUBJECT, digest=report.examples.digest))
    return tuple(subjects)
