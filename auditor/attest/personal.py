"""Statements that a named person signs about a report: opened in one way, reviews and waivers.

A key that the trust file binds to a person or to roles signs for nobody else and in no other role.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from auditor.attest.canonical import parse_canonical, read_record
from auditor.attest.signed import Opened, open_bundle
from auditor.attest.signing_time import SigningTime, judge_time
from auditor.attest.statement import REPORT_SUBJECT, ResourceDescriptor
from auditor.attest.trust import TrustedKey, TrustFile, parse_time
from auditor.attest.verify import Verification, require_types
from auditor.errors import DocumentRefusedError, InputError, ReviewError
from auditor.report.review import Reviewer, ReviewRole
from auditor.stagelog.record import Record

StatementT = TypeVar("StatementT", bound=Record)


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """A kind of statement: its predicate type, and what it is called in messages."""

    predicate_type: str
    name: str


def open_statement(
    bundle: bytes, trust: TrustFile, *, kind: Kind, statement: type[StatementT]
) -> tuple[Opened, StatementT]:
    """Return what was signed, and by which key.

    Args:
        bundle: The bundle's bytes, exactly as issued.
        trust: The keys and authorities the reader trusts.
        kind: What it has to be.
        statement: Its record.

    Raises:
        DocumentRefusedError: If it is malformed or of another kind.
        SignatureError: If key, signature or time-stamp token are not acceptable.
    """
    opened = open_bundle(bundle, trust, passed=lambda _: None)
    require_types(parse_canonical(opened.payload, where=kind.name), (kind.predicate_type,))
    return opened, read_record(statement, opened.payload, where=kind.name)


def signed_at(created: str, opened: Opened, *, kind: Kind) -> tuple[SigningTime, datetime]:
    """Return when it was signed, and the time of it that counts: proven, or else claimed.

    Raises:
        DocumentRefusedError: If ``created`` is no time.
        SignatureError: If the key was not valid then, or the date is not what a token proves.
    """
    where = f"{kind.name}.created"
    claimed = moment_of(created, where=where)
    time = judge_time(created, where=where, key=opened.key, proven=opened.proven)
    return time, claimed if opened.proven is None else opened.proven.moment


def require_report(
    subjects: Sequence[ResourceDescriptor], *, report: Verification, kind: Kind
) -> None:
    """Refuse a statement whose one subject is not the report.

    Raises:
        ReviewError: If it is about another one.
    """
    (subject,) = subjects
    if subject.name != REPORT_SUBJECT or subject.digest.sha256 != report.report_id:
        raise ReviewError(
            f"{kind.name}.subject",
            expected=f"the report {report.report_id}",
            found=subject.digest.sha256,
            remedy=f"This is a {kind.name} of another report, or of another version of it.",
        )


def require_person(who: Reviewer, key: TrustedKey, *, where: str) -> None:
    """Refuse a person or a role that the trust file does not bind the key to.

    Raises:
        ReviewError: If the key is bound to somebody else, or to other roles.
    """
    if key.person is not None and key.person != who.name:
        raise ReviewError(
            f"{where}.name",
            expected=f"{key.person}, whose key {key.name} is",
            found=who.name,
            remedy="Ask for a statement under the person's own name.",
        )
    if key.roles and who.role not in key.roles:
        raise ReviewError(
            f"{where}.role",
            expected=f"{' or '.join(key.roles)}, as the trust file binds key {key.name}",
            found=who.role,
            remedy="Ask somebody in that role.",
        )


def require_other_key(role: ReviewRole, keyid: str, *, report: Verification) -> None:
    """Refuse what is signed by the key that signed the report.

    Raises:
        ReviewError: If it is that key.
    """
    if keyid == report.key.keyid:
        raise _own(role, f"the key that signed the report, {report.key.name}")


def require_other_signer(role: ReviewRole, key: TrustedKey, *, report: Verification) -> None:
    """Refuse what is signed by the report's key, or by another key of the same person.

    Raises:
        ReviewError: If it is, as far as the trust file binds keys to persons.
    """
    require_other_key(role, key.keyid, report=report)
    if key.person is not None and key.person == report.key.person:
        raise _own(role, f"{key.person}, whose key {report.key.name} signed the report")


def _own(role: ReviewRole, found: str) -> ReviewError:
    return ReviewError(
        "key",
        expected=f"a key of the {role}'s own",
        found=found,
        remedy="Somebody else has to sign; a key is made by `stageaudit keys init --folder DIR`.",
    )


def moment_of(text: str, *, where: str) -> datetime:
    """Return a signed time.

    Raises:
        DocumentRefusedError: If it is none.
    """
    try:
        return parse_time(text, where=where)
    except InputError as error:
        raise DocumentRefusedError(
            where, expected=error.expected, found=error.found, remedy="Ask for it to be dated."
        ) from error
