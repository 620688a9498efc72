"""Bundle and trust file in, report out; or the reason why not.

Nothing is read from the payload before its signature holds, and nothing but the verified payload
is read after. The order of the checks is :data:`CHECKS`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from auditor.attest.canonical import parse_canonical, read_record
from auditor.attest.signed import open_bundle
from auditor.attest.signing_time import SigningTime, judge_time
from auditor.attest.statement import STATEMENT_TYPE, Statement, Subject
from auditor.attest.subjects import ComparedSubject, compare_subjects
from auditor.attest.trust import TrustedKey, TrustFile
from auditor.errors import DocumentRefusedError
from auditor.report.schema import PREDICATE_TYPE, REPAIR_PREDICATE_TYPE, Report
from auditor.stagelog.digest import Digest, sha256

CHECKS = (
    "form of the bundle",
    "types of bundle and payload",
    "key",
    "signature",
    "time-stamp tokens",
    "types of statement and predicate",
    "report",
    "signing time",
    "subjects",
)
"""What is checked, in this order; a check's number is its place, from 1."""

PREDICATE_TYPES = (PREDICATE_TYPE, REPAIR_PREDICATE_TYPE)
"""Predicate types that are accepted unless a caller names others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """A check that passed."""

    number: int  #: Place in :data:`CHECKS`, from 1.
    name: str
    detail: str  #: What was found, for people.


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """A report that verified.

    Attributes:
        report: The signed report.
        report_id: SHA-256 of the signed payload.
        key: The trusted key that signed.
        time: When it was signed, as claimed and as proven.
        subjects: Every signed subject, compared with the caller's file or not.
        checks: All checks, in order.
    """

    report: Report
    report_id: Digest
    key: TrustedKey
    time: SigningTime
    subjects: tuple[ComparedSubject, ...]
    checks: tuple[Check, ...]

    def _repr_html_(self) -> str | None:
        """Return the report's page for a notebook; None, hence text, without ``[report]``."""
        if find_spec("jinja2") is None:
            return None
        from auditor.page.facts import verified_facts  # noqa: PLC0415 - the layers' named ignores
        from auditor.page.notebook import frame  # noqa: PLC0415

        return frame(self.report, verified_facts(self))


class _Progress:
    """Numbers the checks as they pass."""

    def __init__(self, on_check: Callable[[Check], None]) -> None:
        self.checks: list[Check] = []
        self._on_check = on_check

    def passed(self, detail: str) -> None:
        number = len(self.checks) + 1
        check = Check(number=number, name=CHECKS[number - 1], detail=detail)
        self.checks.append(check)
        self._on_check(check)


def verify_bundle(
    bundle: bytes,
    trust: TrustFile,
    *,
    files: Mapping[str, Digest],
    allow_missing: frozenset[str] = frozenset(),
    predicate_types: Sequence[str] = PREDICATE_TYPES,
    on_check: Callable[[Check], None] = lambda _: None,
) -> Verification:
    """Verify a signed report against the reader's own keys and files.

    Without ``files`` the subjects are listed as not compared. With any file, every subject must
    have a file of its name and digest or be named in ``allow_missing``, and every file must be a
    subject.

    Args:
        bundle: The bundle's bytes, exactly as issued.
        trust: The keys and authorities the reader trusts; none is ever taken from the bundle.
        files: Digests of the reader's files by subject name.
        allow_missing: Subjects the reader does not have.
        predicate_types: The predicate types that are accepted.
        on_check: Called with every check as it passes, so that a failure shows how far it came.

    Raises:
        DocumentRefusedError: If bundle, statement or report are malformed or of another type.
        SignatureError: If the key is unknown or revoked, the signature or a time-stamp token is
            wrong, or the report was signed outside the key's validity.
        BackdatedError: If the report's date contradicts its time-stamp token.
        UndecidedError: If the key has a validity and nothing says when the report was signed.
        SubjectError: If a file differs from its subject, is no subject, or is missing.
    """
    progress = _Progress(on_check)
    opened = open_bundle(bundle, trust, passed=progress.passed)

    statement = read_statement(opened.payload, predicate_types)
    progress.passed(f"{STATEMENT_TYPE} about {statement.predicate_type}")
    report = statement.predicate
    progress.passed(f"{report.schema_}, {len(report.effects)} effect(s)")

    time = judge_time(
        None if report.run is None else report.run.created,
        where="report.run.created",
        key=opened.key,
        proven=opened.proven,
    )
    progress.passed(time.detail)
    subjects = compare_subjects(statement.subjects, files=files, allow_missing=allow_missing)
    progress.passed(", ".join(f"{subject.name}: {subject.outcome}" for subject in subjects))

    return Verification(
        report=report,
        report_id=sha256(opened.payload),
        key=opened.key,
        time=time,
        subjects=subjects,
        checks=tuple(progress.checks),
    )


def read_statement(payload: bytes, predicate_types: Sequence[str] = PREDICATE_TYPES) -> Statement:
    """Return the report of a signed payload; its types first, for the clearer message.

    Raises:
        DocumentRefusedError: If it is no statement about one of these predicates.
    """
    require_types(parse_canonical(payload, where="statement"), predicate_types)
    statement = read_record(Statement, payload, where="statement")
    if statement.predicate_type != statement.predicate.predicate_type:
        raise DocumentRefusedError(
            "statement.predicateType",
            expected=f"{statement.predicate.predicate_type}, which the predicate is",
            found=statement.predicate_type,
            remedy="Ask for the statement to be issued again.",
        )
    return statement


def require_types(document: Mapping[str, object], predicate_types: Sequence[str]) -> None:
    """Refuse a statement of another kind, before its fields are looked at.

    Raises:
        DocumentRefusedError: If it is no in-toto Statement v1 about one of these predicates.
    """
    for member, accepted in (("_type", (STATEMENT_TYPE,)), ("predicateType", predicate_types)):
        if document.get(member) not in accepted:
            raise DocumentRefusedError(
                f"statement.{member}",
                expected=" or ".join(accepted),
                found=document.get(member, "none"),
                remedy="This is signed, but it is no document of this kind.",
            )


__all__ = [
    "CHECKS", "Check", "ComparedSubject", "Subject", "Verification", "require_types",
    "verify_bundle",
]  # fmt: skip
