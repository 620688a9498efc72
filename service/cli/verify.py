"""``stageaudit verify``: is this report signed by a key I trust, and about the files I hold?

No torch, no network. Exit codes: 0 verified, 2 usage, 3 signature, 4 subject, 7 refused input,
12 a review is missing, 13 back-dated.
"""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from auditor.attest.review import VerifiedReview, require_reviews, verify_review
from auditor.attest.trust import TrustFile
from auditor.attest.verify import CHECKS, Check, Verification, verify_bundle
from auditor.edge.clock import SystemClock
from auditor.errors import VerificationError
from service.cli.bundle_reader import read_bundle
from service.cli.output import JsonOption, emit
from service.cli.roles import Role
from service.cli.trusting import KeyOption, TrustOption, chosen_trust, digests_of
from service.cli.verify_text import (
    Told,
    failure_json,
    print_failure,
    print_success,
    reviews_check,
    success_json,
)


def verify(
    bundle: Annotated[Path, typer.Argument(help="The signed report.", exists=True, dir_okay=False)],
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE|NAME=FILE]...",
            help="Files the report is about. With any file, every subject must match one.",
        ),
    ] = None,
    trust: TrustOption = None,
    key: KeyOption = None,
    allow_missing: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A subject you do not have; may be given repeatedly."),
    ] = None,
    review: Annotated[
        list[Path] | None,
        typer.Option(
            help="A signed review of the report; repeatable.", exists=True, dir_okay=False
        ),
    ] = None,
    require_review: Annotated[
        list[Role] | None,
        typer.Option(help="A role in which somebody must have approved; repeatable."),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Say of each check what it compares, why it matters and what it does not show.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Verify a signed report offline: keys, signature, time, types, contents, files, reviews."""
    told = Told.EXPLAINED if explain else Told.BRIEFLY
    passed: list[Check] = []
    keys = chosen_trust(trust, key)
    digests = digests_of(files or ())
    reviews: tuple[VerifiedReview, ...] = ()
    now = SystemClock().now()
    try:
        verification = verify_bundle(
            read_bundle(bundle),
            keys,
            files=digests,
            allow_missing=frozenset(allow_missing or ()),
            on_check=passed.append,
        )
        if review or require_review:
            reviews = _reviews(
                review or [], keys, report=verification, roles=require_review or [], now=now
            )
            passed.append(reviews_check(reviews, now=now))
    except VerificationError:
        failed = [*CHECKS, "reviews"][len(passed)]
        emit(
            failure_json(passed, failed, told=told),
            as_json=as_json,
            human=lambda: print_failure(passed, failed, told=told),
        )
        raise
    emit(
        success_json(verification, passed, reviews=reviews, now=now, told=told),
        as_json=as_json,
        human=lambda: print_success(verification, passed, reviews=reviews, now=now, told=told),
    )


def _reviews(
    paths: list[Path],
    keys: TrustFile,
    *,
    report: Verification,
    roles: list[Role],
    now: datetime,
) -> tuple[VerifiedReview, ...]:
    reviews = tuple(verify_review(read_bundle(path), keys, report=report) for path in paths)
    require_reviews(reviews, [role.value for role in roles], now=now)
    return reviews
