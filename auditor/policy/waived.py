"""Waivers on findings: what a rule finds stands, and passes because somebody answers for it."""

from collections.abc import Sequence
from datetime import datetime

from auditor.attest.waiver import VerifiedWaiver
from auditor.errors import PolicyError
from auditor.policy.result import Finding, Outcome, Waived
from auditor.policy.schema import Policy
from auditor.stagelog.digest import Digest


def require_waivable(policy: Policy, waivers: Sequence[VerifiedWaiver], *, digest: Digest) -> None:
    """Refuse waivers that the policy does not let count.

    Raises:
        PolicyError: If one is of another policy, of a rule that there is not, by somebody whose
            role the policy does not name in ``waivers``, or by a key that the reader's trust file
            does not bind to that role: whoever signs can call themselves anything.
    """
    names = [rule.name for rule in policy.rules]
    for one in waivers:
        waiver = one.waiver
        if waiver.policy != digest:
            raise PolicyError(
                "waiver.policy",
                expected=f"{digest}, the policy that is judged by",
                found=waiver.policy,
                remedy="A waiver is of one version of a policy: ask for it again.",
            )
        if waiver.rule not in names:
            raise PolicyError(
                "waiver.rule",
                expected="one of " + ", ".join(names),
                found=waiver.rule,
                remedy="Ask for a waiver of a rule that the policy has.",
            )
        if waiver.by.role not in policy.waivers:
            raise PolicyError(
                "waiver.by.role",
                expected=" or ".join(policy.waivers) or "no waiver at all, by the policy",
                found=f"{waiver.by.name}, {waiver.by.role}",
                remedy="Name the roles that may waive rules in the policy's `waivers`.",
            )
        if waiver.by.role not in one.key.roles:
            raise PolicyError(
                f"waiver, key {one.key.name}",
                expected=f"a key that your trust file binds to the role {waiver.by.role}",
                found=", ".join(one.key.roles) or "one bound to no role",
                remedy=f"`stageaudit keys trust PUB.pem --role {waiver.by.role} --person NAME`, if "
                "the key is that person's.",
            )


def with_waiver(finding: Finding, waivers: Sequence[VerifiedWaiver], *, now: datetime) -> Finding:
    """Return a finding as it is, or as passing by the first waiver that covers it at ``now``."""
    if finding.outcome is Outcome.PASS:
        return finding
    for one in waivers:
        if _covers(one, finding) and one.holds(now):
            by, reason = one.waiver.by, one.waiver.reason
            return finding.model_copy(
                update={
                    "outcome": Outcome.PASS,
                    "message": f"{finding.message}; waived by {by.name}, {by.organisation}, until "
                    f"{one.waiver.expires}: {reason}",
                    "waived": Waived(
                        outcome=finding.outcome,
                        by=by.name,
                        role=by.role,
                        organisation=by.organisation,
                        reason=reason,
                        expires=one.waiver.expires,
                        waiver=one.waiver_id,
                    ),
                }
            )
    return finding


def _covers(one: VerifiedWaiver, finding: Finding) -> bool:
    labels = one.waiver.interventions
    return one.waiver.rule == finding.rule and (not labels or finding.intervention in labels)
