"""What ``stageaudit verify`` prints: the checks, what was found, what it does not say."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from auditor.attest.assurance import assurance_of
from auditor.attest.explain import EXPLANATIONS, REVIEWS
from auditor.attest.review import VerifiedReview
from auditor.attest.verify import CHECKS, Check, Verification
from auditor.errors import printable
from service.cli.output import console


class Told(StrEnum):
    """How much is said of each check."""

    BRIEFLY = "briefly"
    EXPLAINED = "explained"


def reviews_check(reviews: Sequence[VerifiedReview], *, now: datetime) -> Check:
    """Return the check of the reviews, which follows those of the report."""
    detail = "; ".join(f"{review.told} {review.standing(now)}" for review in reviews)
    return Check(number=len(CHECKS) + 1, name=REVIEWS, detail=detail)


def success_json(
    verification: Verification,
    checks: Sequence[Check],
    *,
    reviews: Sequence[VerifiedReview],
    now: datetime,
    told: Told,
) -> dict[str, Any]:
    """Return what ``--json`` prints of a report that verified."""
    report, time = verification.report, verification.time
    proven = time.proven
    return {
        "verified": True,
        "report_id": verification.report_id,
        "key": {"keyid": verification.key.keyid, "name": verification.key.name},
        "time": {
            "claimed": None if report.run is None else report.run.created,
            "proven": None if proven is None else proven.moment.isoformat(),
            "authority": None if proven is None else proven.authority.name,
        },
        "checks": _plain(checks, told=told),
        "subjects": [
            {"name": s.name, "digest": s.digest, "outcome": s.outcome}
            for s in verification.subjects
        ],
        "reviews": [_review(review, now=now) for review in reviews],
        "assurance": assurance_of(reviews, now=now),
        "assurance_claimed": report.assurance,
        "limitations": [limitation.model_dump(mode="json") for limitation in report.limitations],
    }


def failure_json(passed: Sequence[Check], failed: str, *, told: Told) -> dict[str, Any]:
    """Return what ``--json`` prints of a report that does not verify."""
    return {"verified": False, "checks": _plain(passed, told=told), "failed": failed}


def print_failure(passed: Sequence[Check], failed: str, *, told: Told) -> None:
    """Print how far it came."""
    _print_checks(passed, told=told)
    console.print(f"[bold red]no[/] {len(passed) + 1} {failed}")
    if told is Told.EXPLAINED:
        _print_explanation(failed)


def print_success(
    verification: Verification,
    checks: Sequence[Check],
    *,
    reviews: Sequence[VerifiedReview],
    now: datetime,
    told: Told,
) -> None:
    """Print what verified, who vouches for it, and what the figures do not say."""
    report = verification.report
    _print_checks(checks, told=told)
    console.print(f"\n[bold green]Verified[/] report {verification.report_id}")
    signed = "" if report.run is None else f", dated {report.run.created}"
    proven = verification.time.proven
    if proven is not None:
        signed += f", proven {proven.moment.isoformat()} by {proven.authority.name}"
    assurance = assurance_of(reviews, now=now)
    claim = "" if report.assurance == assurance else f" (it calls itself {report.assurance})"
    _print_text(f"signed by {verification.key.name}{signed}; assurance: {assurance}{claim}")
    for review in reviews:
        _print_review(review, now=now)
    _print_text(report.log.consistency_statement)
    if report.repair is not None:
        _print_text(f"repaired model {report.repair.model.digest}: {report.repair.statement}")
        for row in report.repair.queries:
            _print_text(f"{row.query}: {row.before:.4g} before, {row.after:.4g} after ({row.unit})")
    if report.limitations:
        console.print("\n[bold]What the figures do not say[/]")
    for limitation in report.limitations:
        _print_text(f"- {limitation.text} [{limitation.id}]")


def _plain(checks: Sequence[Check], *, told: Told) -> list[dict[str, Any]]:
    plain: list[dict[str, Any]] = []
    for check in checks:
        entry: dict[str, Any] = {"number": check.number, "name": check.name, "detail": check.detail}
        if told is Told.EXPLAINED:
            words = EXPLANATIONS[check.name]
            entry |= {
                "compared": words.compared,
                "matters": words.matters,
                "not_shown": words.not_shown,
            }
        plain.append(entry)
    return plain


def _review(review: VerifiedReview, *, now: datetime) -> dict[str, Any]:
    return {
        "review_id": review.review_id,
        "keyid": review.key.keyid,
        "role_bound": bool(review.key.roles),
        "standing": review.standing(now),
        **review.review.model_dump(mode="json", by_alias=True, exclude_none=True),
    }


def _print_review(review: VerifiedReview, *, now: datetime) -> None:
    _print_text(f"{review.told} {review.standing(now)}, {review.made.isoformat()}")
    for condition in review.review.conditions:
        _print_text(f"  condition: {condition}")
    if review.review.comment is not None:
        _print_text(f"  comment: {review.review.comment}")


def _print_checks(checks: Sequence[Check], *, told: Told) -> None:
    for check in checks:
        console.print(f"[green]ok[/] {check.number} {check.name}: ", end="")
        _print_text(check.detail)
        if told is Told.EXPLAINED:
            _print_explanation(check.name)


def _print_explanation(name: str) -> None:
    words = EXPLANATIONS[name]
    _print_text(f"     compares      {words.compared}")
    _print_text(f"     matters       {words.matters}")
    _print_text(f"     does not show {words.not_shown}")


def _print_text(text: str) -> None:
    """Print text that others wrote, without what a terminal would obey."""
    console.print(printable(text), markup=False, soft_wrap=True)
