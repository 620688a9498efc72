"""A policy on reports of a service: as offline, for its own tenant only, nothing stored."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from auditor.attest.trust import TrustFile, trust_key
from auditor.attest.verify import verify_bundle
from auditor.edge.clock import SystemClock
from auditor.effects import Query
from auditor.errors import (
    ArtifactMissingError,
    BaselineError,
    InputError,
    PolicyError,
    UnsupportedError,
)
from auditor.estimators.task_vector import TaskVectorSettings
from auditor.plan.request import AuditRequest
from auditor.policy.judge import Judged, judge
from auditor.policy.result import Outcome
from auditor.policy.schema import Policy
from auditor.report.schema import Report
from auditor.stagelog.digest import Digest, digest_of
from service.client import Client
from service.executors.local import DEFAULT_ENGINE
from service.pb.v1 import policy_pb2
from tests.support.builders import RecordedRun, make_stage_log
from tests.support.refusals import push_evaluation, write_folder
from tests.support.served import Served, served
from tests.unit.policy.test_bounds import make_policy

pytestmark = pytest.mark.slow

RULE: Mapping[str, Any] = {"check": "value", "query": "loss"}
POLICY = make_policy({**RULE, "at_most": 100.0}, {"check": "registered"})


@dataclass(frozen=True, kw_only=True)
class Audited:
    """A service with two audits of one log: the first registered the policy, the second none."""

    service: Served
    run: RecordedRun
    registered: str
    other: str


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Audited]:
    run = make_stage_log(stages=2, steps=3)

    def asked(policy: Policy | None) -> AuditRequest:
        query = {"name": "loss", "kind": "loss", "better": "lower", "data": run.evaluation}
        return AuditRequest(
            log=run.digest,
            interventions="stages",
            queries=(Query.model_validate(query, strict=False),),
            estimator=TaskVectorSettings(),
            baselines=(),
            policy_digest=None if policy is None else digest_of(policy),
        )

    with served(tmp_path_factory.mktemp("served"), engine=DEFAULT_ENGINE) as service:
        with service.client() as client:
            client.push_log(write_folder(run, tmp_path_factory.mktemp("full") / "log"))
            push_evaluation(client, run)
            first, second = (
                client.wait(client.create_audit(asked(policy)))["report"].rpartition("/")[2]
                for policy in (POLICY, None)
            )
        yield Audited(service=service, run=run, registered=first, other=second)


@pytest.fixture
def client(audited: Audited) -> Iterator[Client]:
    with audited.service.client() as connected:
        yield connected


def report_of(audited: Audited, digest: str) -> Report:
    """Return a report after its signature by the service's key has been verified."""
    public = (audited.service.config.keys_dir / "signing.pub.pem").read_text()
    with audited.service.client() as client:
        bundle = client.get_report(digest)
    trust = TrustFile(keys=(trust_key(public, name="service"),))
    return verify_bundle(bundle, trust, files={}).report


def test_the_service_finds_what_a_gate_finds_offline(audited: Audited, client: Client) -> None:
    found = client.evaluate_policy(POLICY, audited.registered)

    report = report_of(audited, audited.registered)
    offline = judge(
        POLICY,
        Judged(report=report, id=Digest(audited.registered)),
        baseline=None,
        now=SystemClock().now(),
    )
    assert found.outcome is Outcome.PASS
    assert found.findings == offline.findings
    assert (found.report, found.policy) == (audited.registered, offline.policy)


def test_an_audit_without_the_policy_is_not_registered(audited: Audited, client: Client) -> None:
    assert client.evaluate_policy(POLICY, audited.other).outcome is Outcome.INVESTIGATE


def test_a_change_is_judged_against_a_report_of_the_service(
    audited: Audited, client: Client
) -> None:
    change = make_policy({**RULE, "against": "baseline", "at_most": 0.0})

    found = client.evaluate_policy(change, audited.registered, baseline=audited.other)

    assert found.outcome is Outcome.PASS
    assert found.baseline == audited.other
    with pytest.raises(BaselineError):
        client.evaluate_policy(change, audited.registered)


def test_what_cannot_be_judged_is_refused_by_name(audited: Audited, client: Client) -> None:
    with pytest.raises(PolicyError, match="nothing like it"):
        client.evaluate_policy(
            make_policy({**RULE, "query": "nothing like it", "at_most": 1.0}), audited.registered
        )
    with pytest.raises(UnsupportedError, match="--review FILE"):
        client.evaluate_policy(
            make_policy({"check": "reviews", "role": "validator"}), audited.registered
        )
    with pytest.raises(ArtifactMissingError):
        client.evaluate_policy(POLICY, "f" * 64)
    with pytest.raises(ArtifactMissingError):
        client.evaluate_policy(POLICY, f"tenants/somebody/reports/{audited.registered}")


@pytest.mark.parametrize("policy", [b"", b"{}", b"[" * 100_000, b"\xff", b" " * (2**20 + 1)])
def test_bytes_that_are_no_policy_are_refused(
    audited: Audited, client: Client, policy: bytes
) -> None:
    request = policy_pb2.EvaluatePolicyRequest(
        report=f"tenants/default/reports/{audited.registered}", policy=policy
    )

    with pytest.raises(InputError, match="policy"):
        client._connection.call(client._connection.policies.EvaluatePolicy, request)


def test_the_second_report_tells_of_the_first_audit(audited: Audited) -> None:
    run = report_of(audited, audited.other).run

    assert run is not None
    assert run.history is not None
    assert (run.history.number, run.history.succeeded) == (2, 1)
    assert [audit.outcome for audit in run.history.audits] == ["succeeded", "this one"]


def test_a_report_says_how_its_estimator_was_validated(audited: Audited) -> None:
    validation = report_of(audited, audited.other).validation

    assert validation is not None
    assert validation.statement.startswith("task_vector was compared with exact retraining on 243")
    assert validation.regime.steps == 6
