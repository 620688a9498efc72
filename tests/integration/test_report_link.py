"""A report's page at a link of a real service, opened without a token."""

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from auditor.effects import Query
from auditor.errors import ArtifactMissingError, InputError
from auditor.estimators.task_vector import TaskVectorSettings
from auditor.plan.request import AuditRequest
from service.cli.main import run as run_command
from service.client import Client
from service.executors.local import DEFAULT_ENGINE
from tests.support.builders import make_stage_log
from tests.support.page_reader import read_page
from tests.support.refusals import push_evaluation, write_folder
from tests.support.served import Served, served

pytestmark = pytest.mark.slow

OTHER_TOKEN = "sa_of_another_team"  # noqa: S105 - of a service of this test


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    data_dir = tmp_path_factory.mktemp("served")
    (data_dir / "token").write_text(f"sa_of_the_default_team\n{OTHER_TOKEN} team-b\n")
    with served(data_dir, engine=DEFAULT_ENGINE) as running:
        yield running


@pytest.fixture(scope="module")
def client(service: Served) -> Iterator[Client]:
    with Client(service.address.address, token="sa_of_the_default_team") as connected:  # noqa: S106
        yield connected


@pytest.fixture(scope="module")
def report(client: Client, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Ask for an audit and return its report's digest."""
    run = make_stage_log(stages=2, steps=3)
    client.push_log(write_folder(run, tmp_path_factory.mktemp("full") / "log"))
    push_evaluation(client, run)
    query = {"name": "held-out loss", "kind": "loss", "better": "lower", "data": run.evaluation}
    request = AuditRequest(
        log=run.digest,
        interventions="stages",
        queries=(Query.model_validate(query),),
        estimator=TaskVectorSettings(),
        baselines=(),
    )
    done = client.wait(client.create_audit(request))
    return str(done["report"]).rpartition("/")[2]


def path_of(service: Served, url: str) -> str:
    base = f"http://{service.address.metrics_address}"
    assert url.startswith(f"{base}/tenants/")
    return url.removeprefix(base)


def test_link_opens_the_page_of_the_report(service: Served, client: Client, report: str) -> None:
    found = client.link_report(report)

    status, body = service.page(path_of(service, found["url"]))

    document = read_page(body)
    assert status == 200
    assert report in document.by_id("verifying").text
    assert "signature verified: it is of the key “this service, signing”" in document.text
    assert "held-out loss" in document.by_id("effects").text


def test_page_is_not_there_without_its_signature(
    service: Served, client: Client, report: str
) -> None:
    path = path_of(service, client.link_report(report)["url"])

    status, body = service.page(path.partition("&signature")[0])

    assert (status, "held-out loss" in body) == (403, False)


def test_other_tenant_gets_no_link(service: Served, report: str) -> None:
    address = service.address.address

    with (
        Client(address, token=OTHER_TOKEN, tenant="team-b") as own,
        pytest.raises(ArtifactMissingError),
    ):
        own.link_report(report)
    with (
        Client(address, token=OTHER_TOKEN, tenant="default") as others,
        pytest.raises(ArtifactMissingError),
    ):
        others.link_report(report)


def test_link_to_no_report_or_for_too_long_is_refused(client: Client, report: str) -> None:
    with pytest.raises(ArtifactMissingError):
        client.link_report("f" * 64)
    with pytest.raises(InputError, match="validity"):
        client.link_report(report, seconds=86_401)


def test_key_of_links_is_the_owners_only(service: Served) -> None:
    path = service.config.link_key_path

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_command_prints_the_link(
    service: Served,
    report: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STAGEAUDIT_TOKEN", "sa_of_the_default_team")

    with pytest.raises(SystemExit) as ended:
        run_command([
            "report",
            "link",
            report,
            "--for",
            "5min",
            "--server",
            service.address.address,
        ])

    printed = capsys.readouterr()
    assert ended.value.code == 0
    assert service.page(path_of(service, printed.out.strip()))[0] == 200
    assert "holds until" in printed.err
