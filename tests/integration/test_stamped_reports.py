"""A service stamps its reports; if its authority does not answer, it issues them all the same."""

from pathlib import Path

import pytest

from auditor.attest.trust import TrustFile, trust_key
from auditor.attest.verify import Verification, verify_bundle
from service.executors.local import DEFAULT_ENGINE
from service.timestamp_config import TimestampConfig
from tests.support.builders import RecordedRun, make_stage_log
from tests.support.job_service import make_request, push_run
from tests.support.served import Served, served
from tests.support.time_server import Given, time_server
from tests.support.timestamps import Authority

pytestmark = [pytest.mark.slow, pytest.mark.tool("openssl")]


def audited(service: Served, run: RecordedRun, folder: Path, authority: Authority) -> Verification:
    """Return the verified report of an audit, by the authority's default tolerance of a day."""
    with service.client() as client:
        push_run(client, run, folder)
        bundle = client.get_report(client.wait(client.create_audit(make_request(run)))["report"])
    key = trust_key((service.config.keys_dir / "signing.pub.pem").read_text(), name="service")
    entry = authority.entry(max_delay_seconds=86400)
    return verify_bundle(bundle, TrustFile(keys=(key,), timestamp_authorities=(entry,)), files={})


@pytest.fixture
def log(tmp_path: Path) -> tuple[RecordedRun, Path]:
    folder = tmp_path / "log"
    return make_stage_log(stages=2, steps=2, folder=folder), folder


def test_report_of_a_service_has_a_token(
    log: tuple[RecordedRun, Path], authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "authority.pem").write_text(authority.chain)
    with time_server(Given(authority.answer)) as url:
        config = TimestampConfig(
            url=url, certificates=tmp_path / "authority.pem", timeout_seconds=60
        )
        with served(tmp_path / "data", engine=DEFAULT_ENGINE, timestamp=config) as service:
            verification = audited(service, *log, authority)

            assert verification.time.proven is not None
            assert service.metric('stageaudit_timestamps_total{result="stamped"}') == 1


def test_report_is_not_lost_without_the_authority(
    log: tuple[RecordedRun, Path], authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "authority.pem").write_text(authority.chain)
    with time_server(Given(lambda _: b"", status=503)) as url:
        config = TimestampConfig(
            url=url, certificates=tmp_path / "authority.pem", timeout_seconds=60
        )
        with served(tmp_path / "data", engine=DEFAULT_ENGINE, timestamp=config) as service:
            verification = audited(service, *log, authority)

            assert verification.time.proven is None
            assert verification.report.effects
            assert service.metric('stageaudit_timestamps_total{result="failed"}') == 1
