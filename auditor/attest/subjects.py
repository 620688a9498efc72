"""Compare signed subjects with the files a reader holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from auditor.attest.statement import Subject
from auditor.errors import DocumentRefusedError, SubjectError
from auditor.stagelog.digest import Digest


class SubjectOutcome(StrEnum):
    """What came of a subject."""

    MATCHES = "matches"
    ALLOWED_MISSING = "missing, allowed"
    NOT_COMPARED = "not compared"


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedSubject:
    """A signed subject and what came of it."""

    name: str
    digest: Digest
    outcome: SubjectOutcome


def compare_subjects(
    subjects: Sequence[Subject], *, files: Mapping[str, Digest], allow_missing: frozenset[str]
) -> tuple[ComparedSubject, ...]:
    """Compare every subject with the file of its name.

    Without files nothing is compared, and every outcome says so.

    Raises:
        DocumentRefusedError: If two subjects have one name.
        SubjectError: If a file differs from its subject, a file or an allowed name is no subject,
            or a subject has no file and is not allowed to be missing.
    """
    names = {subject.name for subject in subjects}
    if len(names) != len(subjects):
        raise DocumentRefusedError(
            "statement.subject",
            expected="one subject a name",
            found="two of one name",
            remedy="Ask for the report to be issued again.",
        )
    _refuse_strangers(files, allow_missing, names=names, subjects=subjects)
    if not files:
        return tuple(_compared(subject, SubjectOutcome.NOT_COMPARED) for subject in subjects)
    return tuple(_compare(subject, files, allow_missing) for subject in subjects)


def _refuse_strangers(
    files: Mapping[str, Digest],
    allow_missing: frozenset[str],
    *,
    names: set[str],
    subjects: Sequence[Subject],
) -> None:
    """Refuse files and allowed names that the statement does not speak of."""
    known = ", ".join(subject.name for subject in subjects)
    for name, digest in files.items():
        if name not in names:
            twin = next((s.name for s in subjects if s.digest == digest), None)
            raise SubjectError(
                f"file {name}",
                expected=f"one of the subjects: {known}",
                found="a file the report does not speak of",
                remedy=f"It is the subject {twin}: pass it as {twin}=PATH."
                if twin
                else "Leave it out, or ask for a report about it.",
            )
    for name in sorted(allow_missing - names):
        raise SubjectError(
            f"--allow-missing {name}",
            expected=f"one of the subjects: {known}",
            found="a name the report does not speak of",
            remedy="Correct the name.",
        )


def _compare(
    subject: Subject, files: Mapping[str, Digest], allow_missing: frozenset[str]
) -> ComparedSubject:
    if subject.name in files:
        if files[subject.name] != subject.digest:
            raise SubjectError(
                f"file {subject.name}",
                expected=f"SHA-256 {subject.digest}",
                found=files[subject.name],
                remedy="The report is about another version of this file.",
            )
        return _compared(subject, SubjectOutcome.MATCHES)
    if subject.name in allow_missing:
        return _compared(subject, SubjectOutcome.ALLOWED_MISSING)
    raise SubjectError(
        f"subject {subject.name}",
        expected="a file of this name",
        found="none",
        remedy=f"Pass the file, or --allow-missing {subject.name}.",
    )


def _compared(subject: Subject, outcome: SubjectOutcome) -> ComparedSubject:
    return ComparedSubject(name=subject.name, digest=Digest(subject.digest), outcome=outcome)
