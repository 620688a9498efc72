"""The in-toto Statement: which files a report is about, and the report as its predicate.

Format: in-toto Attestation Framework, Statement v1.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from auditor.errors import InputError
from auditor.report.schema import Report
from auditor.stagelog.digest import canonical_bytes
from auditor.stagelog.record import DigestField, Name, Record

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"


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
    """What is signed."""

    type_: Annotated[Literal["https://in-toto.io/Statement/v1"], Field(alias="_type")]
    subject: Annotated[tuple[ResourceDescriptor, ...], Field(min_length=1, max_length=10_000)]
    predicate_type: Annotated[str, Field(alias="predicateType")]
    predicate: Report

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """Names and digests of the files, in the order they were signed."""
        return tuple(Subject(name=entry.name, digest=entry.digest.sha256) for entry in self.subject)


def build_statement(report: Report, subjects: Sequence[Subject]) -> bytes:
    """Return the canonical payload to sign.

    Raises:
        InputError: If there is no subject, two have one name, or a figure has no canonical form.
    """
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
        "predicateType": report.predicate_type,
        "predicate": report.model_dump(mode="json", by_alias=True, exclude_none=True),
    })
