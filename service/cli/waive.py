"""``stageaudit waive``: sign that a rule need not hold for one report, why, and until when."""

from pathlib import Path
from typing import Annotated

import typer

from auditor.attest.personal import require_other_key
from auditor.attest.verify import verify_bundle
from auditor.attest.waiver import sign_waiver
from auditor.errors import PolicyError
from auditor.report.review import Reviewer
from auditor.report.waiver import Waiver
from auditor.stagelog.digest import digest_of
from service.cli.bundle_reader import read_bundle
from service.cli.output import JsonOption
from service.cli.policy_file import read_policy
from service.cli.roles import Role
from service.cli.signing import now_text, put_statement, signer_of, stated, until_text
from service.cli.trusting import TrustOption, chosen_trust


def waive(
    policy: Annotated[Path, typer.Argument(help="The policy, YAML.")],
    report: Annotated[Path, typer.Argument(help="The signed report.", exists=True, dir_okay=False)],
    *,
    rule: Annotated[str, typer.Option(help="The rule that need not hold.")],
    intervention: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL", help="Only for this intervention, as the report calls it; repeatable."
        ),
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; it stands in every gate's result.")],
    expires: Annotated[str, typer.Option(metavar="TIME", help="When it ceases to count.")],
    role: Annotated[Role, typer.Option(help="In which role; the policy says which may.")],
    name: Annotated[str, typer.Option(help="Your name.")],
    organisation: Annotated[str, typer.Option(help="For whom.")],
    key: Annotated[Path, typer.Option(help="Your private key, not that of the report.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Write the waiver here.")],
    trust: TrustOption = None,
    as_json: JsonOption = False,
) -> None:
    """Verify a report, then sign that it may go out although a rule does not hold.

    `stageaudit gate --waiver FILE` takes it into account until it expires, and says so.
    """
    rules = read_policy(policy)
    verified = verify_bundle(read_bundle(report), chosen_trust(trust, None), files={})
    if rule not in [one.name for one in rules.rules]:
        raise PolicyError(
            "--rule",
            expected="one of " + ", ".join(one.name for one in rules.rules),
            found=rule,
            remedy="Name a rule of the policy.",
        )
    signer = signer_of(key)
    require_other_key(role.value, signer.public_key.keyid, report=verified)
    until = until_text(expires)
    waiver = stated(
        lambda: Waiver(
            by=Reviewer(name=name, role=role.value, organisation=organisation),
            policy=digest_of(rules),
            rule=rule,
            interventions=tuple(intervention or ()),
            reason=reason,
            created=now_text(),
            expires=until,
        ),
        what="waiver",
        expected="a name, an organisation and a reason",
    )
    put_statement(
        waiver,
        sign_waiver(waiver, report=verified.report_id, signer=signer),
        output,
        report=verified.report_id,
        signer=signer,
        sentence=f"{role.value} {name} waives {rule!r} on report {verified.report_id} "
        f"until {until}",
        as_json=as_json,
    )
