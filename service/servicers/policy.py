"""PolicyService: what a policy says of a report of this service."""

from collections.abc import Mapping
from typing import Any, Final, TypeAlias, final

import grpc
from typing_extensions import override

from auditor.attest.bundle import parse_bundle
from auditor.attest.verify import read_statement
from auditor.edge.clock import Clock
from auditor.errors import InternalError, UnsupportedError
from auditor.policy.judge import Judged, judge
from auditor.policy.read import read_policy_json
from auditor.policy.result import GateResult, Outcome
from auditor.policy.schema import Policy, ReviewsRule
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.digest import Digest, canonical_bytes, sha256
from service.auth import require_tenant
from service.names import parse_member
from service.pb.v1 import policy_pb2
from service.pb.v1.policy_service_pb2_grpc import PolicyServiceServicer
from service.records.base import ReportRecords
from service.threads import Threads

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

OUTCOMES: Final[Mapping[Outcome, policy_pb2.PolicyOutcome.ValueType]] = {
    Outcome.PASS: policy_pb2.POLICY_OUTCOME_PASS,
    Outcome.INVESTIGATE: policy_pb2.POLICY_OUTCOME_INVESTIGATE,
    Outcome.FAIL: policy_pb2.POLICY_OUTCOME_FAIL,
}


@final
class PolicyServicer(PolicyServiceServicer):
    """Decodes, judges, encodes; reports are those that this service signed.

    Args:
        records: Rows of reports.
        blobs: Where their bundles are.
        threads: Where reading and judging wait.
        clock: Says how old a report is.
    """

    def __init__(
        self, *, records: ReportRecords, blobs: BlobStore, threads: Threads, clock: Clock
    ) -> None:
        self._records = records
        self._blobs = blobs
        self._threads = threads
        self._clock = clock

    @override
    async def EvaluatePolicy(
        self, request: policy_pb2.EvaluatePolicyRequest, context: Context
    ) -> policy_pb2.PolicyEvaluation:
        """Return the outcome of a policy on a report, with every finding."""
        report = _named(request.report, where="report")
        baseline = _named(request.baseline, where="baseline") if request.baseline else None
        result = await self._threads.run(
            self._judge, request.policy, report=report, baseline=baseline
        )
        return policy_pb2.PolicyEvaluation(
            outcome=OUTCOMES[result.outcome], result=canonical_bytes(result)
        )

    def _judge(
        self, policy: bytes, *, report: tuple[str, Digest], baseline: tuple[str, Digest] | None
    ) -> GateResult:
        rules = _without_reviews(read_policy_json(policy, where="policy"))
        return judge(
            rules,
            self._judged(*report),
            baseline=None if baseline is None else self._judged(*baseline),
            now=self._clock.now(),
        )

    def _judged(self, tenant: str, digest: Digest) -> Judged:
        """Return a report that this service has a row of, its payload being what was signed."""
        bundle = bytes(self._blobs.read(self._records.report(tenant, digest).bundle_digest))
        payload = parse_bundle(bundle).payload
        if sha256(payload) != digest:
            raise InternalError(
                f"report {digest[:12]}",
                expected="the bundle that it was stored with",
                found="another one",
                remedy="Restore the blob store from a backup.",
            )
        statement = read_statement(payload)
        return Judged(report=statement.predicate, id=digest)


def _without_reviews(policy: Policy) -> Policy:
    """Refuse rules about reviews, which people hold and a service does not."""
    asked = [rule.name for rule in policy.rules if isinstance(rule, ReviewsRule)]
    if asked:
        raise UnsupportedError(
            f"policy rule {asked[0]!r}",
            expected="rules about what a service has",
            found="one about reviews",
            remedy="Judge it offline: `stageaudit gate POLICY REPORT --review FILE`.",
        )
    return policy


def _named(name: str, *, where: str) -> tuple[str, Digest]:
    """Return the tenant, who is the caller, and the digest of a report."""
    tenant, digest = parse_member(name, collection="reports", where=where)
    return require_tenant(tenant, name=name), Digest(digest)
