"""The in-toto Statement: what a predicate is about, and a report, a review or a waiver as one.

Format: in-toto Attestation Framework, Statement v1.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from auditor.errors import InputError
from auditor.report.review import REVIEW_PREDICATE_TYPE, Review
from auditor.report.schema import Report
from auditor.report.waiver import WAIVER_PREDICATE_TYPE, Waiver
from auditor.stagelog.digest import Digest, canonical_bytes
from auditor.stagelog.record import DigestField, Name, Record

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
REPORT_SUBJECT = "report"
"""What the subject of a review or a waiver is called; its digest is the report's id."""


class Subject(Record):
    """A file people hold: a log's manifest, a final model, a repaired model."""

    name: Name
    digest: DigestField


class DigestSet(Record):
    """in-toto's digests by algorithm; ours have exactly one."""

    sha256: DigestField


class ResourceDescriptor(Record):
    """A subject in the words of in-toto."""

    name: Name
    digest: DigestSet


class Statement(Record):
    """A report as it is signed."""

    type_: Annotated[Literal["https://in-toto.io/Statement/v1"], Field(alias="_type")]
    subject: Annotated[tuple[ResourceDescriptor, ...], Field(min_length=1, max_length=10_000)]
    predicate_type: Annotated[str, Field(alias="predicateType")]
    predicate: Report

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """Names and digests of the files, in the order they were signed."""
        return tuple(Subject(name=entry.name, digest=entry.digest.sha256) for entry in self.subject)


class ReviewStatement(Record):
    """A review as it is signed; its subject is the report, by its id."""

    type_: Annotated[Literal["https://in-toto.io/Statement/v1"], Field(alias="_type")]
    subject: Annotated[tuple[ResourceDescriptor, ...], Field(min_length=1, max_length=1)]
    predicate_type: Annotated[
        Literal["https://stageaudit.dev/attestation/review/v1"], Field(alias="predicateType")
    ]
    predicate: Review


class WaiverStatement(Record):
    """A waiver as it is signed; its subject is the report, by its id."""

    type_: Annotated[Literal["https://in-toto.io/Statement/v1"], Field(alias="_type")]
    subject: Annotated[tuple[ResourceDescriptor, ...], Field(min_length=1, max_length=1)]
    predicate_type: Annotated[
        Literal["https://stageaudit.dev/attestation/waiver/v1"], Field(alias="predicateType")
    ]
    predicate: Waiver


def build_statement(report: Report, subjects: Sequence[Subject]) -> bytes:
    """Return the canonical payload of a report to sign.

    Raises:
        InputError: If there is no subject, two have one name, or a figure has no canonical form.
    """
    return _payload(report, subjects, predicate_type=report.predicate_type)


def build_review_statement(review: Review, report: Digest) -> bytes:
    """Return the canonical payload of a review to sign.

    Args:
        review: The decision.
        report: Id of the report that it is about.
    """
    subject = Subject(name=REPORT_SUBJECT, digest=report)
    return _payload(review, [subject], predicate_type=REVIEW_PREDICATE_TYPE)


def build_waiver_statement(waiver: Waiver, report: Digest) -> bytes:
    """Return the canonical payload of a waiver to sign.

    Args:
        waiver: What is waived.
        report: Id of the report that it is about.
    """
    subject = Subject(name=REPORT_SUBJECT, digest=report)
    return _payload(waiver, [subject], predicate_type=WAIVER_PREDICATE_TYPE)


def _payload(predicate: Record, subjects: Sequence[Subject], *, predicate_type: str) -> bytes:
    names = [subject.name for subject in subjects]
    if not names or len(set(names)) != len(names):
        raise InputError(
            "statement.subject",
            expected="at least one subject, each with a name of its own",
            found=", ".join(names) or "none",
            remedy="Name the log's manifest and the model the report is about.",
        )
    return canonical_bytes({
        "_type": STATEMENT_TYPE,
        "subject": [
            {"name": subject.name, "digest": {"sha256": subject.digest}} for subject in subjects
        ],
        "predicateType": predicate_type,
        "predicate": predicate.model_dump(mode="json", by_alias=True, exclude_none=True),
    })
