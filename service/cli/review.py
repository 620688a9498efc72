"""``stageaudit review``: sign what a named person decided about a report."""

from pathlib import Path
from typing import Annotated

import typer

from auditor.attest.review import require_independent, sign_review
from auditor.attest.verify import verify_bundle
from auditor.report.review import Review, Reviewer
from service.cli.bundle_reader import read_bundle
from service.cli.output import JsonOption
from service.cli.roles import Role, Verdict
from service.cli.signing import now_text, put_statement, signer_of, stated, until_text
from service.cli.trusting import TrustOption, chosen_trust, digests_of


def review(
    report: Annotated[Path, typer.Argument(help="The signed report.", exists=True, dir_okay=False)],
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE|NAME=FILE]...", help="Files it is about, as for `verify`."),
    ] = None,
    *,
    role: Annotated[Role, typer.Option(help="In which role you review.")],
    name: Annotated[str, typer.Option(help="Your name.")],
    organisation: Annotated[str, typer.Option(help="For whom you review.")],
    decision: Annotated[Verdict, typer.Option(help="What you decide.")],
    condition: Annotated[
        list[str] | None,
        typer.Option(help="What must be met, for --decision conditional; repeatable."),
    ] = None,
    comment: Annotated[str | None, typer.Option(help="What you want to say.")] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="TIME", help="When the review ceases to count.")
    ] = None,
    key: Annotated[
        Path, typer.Option(help="Your private key; validators and approvers need their own.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Write the signed review here.")],
    allow_missing: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A subject you do not have; may be given repeatedly."),
    ] = None,
    trust: TrustOption = None,
    as_json: JsonOption = False,
) -> None:
    """Verify a report, then sign your decision about it, as developer, validator or approver."""
    verified = verify_bundle(
        read_bundle(report),
        chosen_trust(trust, None),
        files=digests_of(files or ()),
        allow_missing=frozenset(allow_missing or ()),
    )
    signer = signer_of(key)
    require_independent(role.value, signer.public_key.keyid, report=verified)
    until = None if expires is None else until_text(expires)
    decided = stated(
        lambda: Review(
            reviewer=Reviewer(name=name, role=role.value, organisation=organisation),
            decision=decision.value,
            conditions=tuple(condition or ()),
            comment=comment,
            created=now_text(),
            expires=until,
        ),
        what="review",
        expected="a name, an organisation, and conditions if and only if it is conditional",
    )
    put_statement(
        decided,
        sign_review(decided, report=verified.report_id, signer=signer),
        output,
        report=verified.report_id,
        signer=signer,
        sentence=f"{role.value} {name}: {decision.value} of report {verified.report_id}",
        as_json=as_json,
    )
