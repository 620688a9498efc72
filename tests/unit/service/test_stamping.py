"""Reports of a service get a token where the authority gives one, and are issued where not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from auditor.attest.bundle import parse_bundle
from auditor.attest.verify import verify_bundle
from auditor.errors import ArtifactMissingError, InputError
from service.config import load_service_config
from service.metrics import Metrics
from service.stamping import NoStamper, open_stamper
from service.timestamp_config import TimestampConfig
from tests.support.fake_clock import FakeClock
from tests.support.reports import make_signed
from tests.support.time_server import Given, time_server
from tests.support.timestamps import Authority, make_authority

pytestmark = pytest.mark.tool("openssl")

SIGNED = make_signed()


@pytest.fixture
def certificates(authority: Authority, tmp_path: Path) -> Path:
    path = tmp_path / "authority.pem"
    path.write_text(authority.chain)
    return path


def outcomes(metrics: Metrics) -> dict[str, float]:
    (family,) = [m for m in metrics.registry.collect() if m.name == "stageaudit_timestamps"]
    return {s.labels["result"]: s.value for s in family.samples if s.name.endswith("_total")}


def test_report_is_stamped(authority: Authority, certificates: Path) -> None:
    metrics = Metrics()
    with time_server(Given(authority.answer)) as url:
        stamper = open_stamper(
            TimestampConfig(url=url, certificates=certificates, timeout_seconds=60),
            clock=FakeClock(),
            metrics=metrics,
        )
        bundle = stamper.stamp(SIGNED.bundle)

    assert verify_bundle(bundle, authority.trust(SIGNED), files={}).time.proven is not None
    assert outcomes(metrics) == {"stamped": 1}


def strangers_answer(folder: Path) -> Callable[[bytes], bytes]:
    folder.mkdir()
    return make_authority(folder).answer


@pytest.mark.parametrize("case", ["down", "refuses", "nonsense", "stranger"])
def test_report_is_issued_without_a_token(certificates: Path, tmp_path: Path, case: str) -> None:
    given = {
        "down": Given(lambda _: b"", status=503),
        "refuses": Given(lambda _: bytes.fromhex("30053003020102")),
        "nonsense": Given(lambda _: b"nonsense"),
        "stranger": Given(strangers_answer(tmp_path / "stranger")),
    }[case]
    metrics = Metrics()

    with time_server(given) as url:
        stamper = open_stamper(
            TimestampConfig(url=url, certificates=certificates, timeout_seconds=60),
            clock=FakeClock(),
            metrics=metrics,
        )
        assert stamper.stamp(SIGNED.bundle) == SIGNED.bundle

    assert outcomes(metrics) == {"failed": 1}


def test_authority_that_failed_is_left_alone_for_a_while(
    authority: Authority, certificates: Path
) -> None:
    clock, metrics = FakeClock(), Metrics()
    given = Given(authority.answer, status=500)
    with time_server(given) as url:
        stamper = open_stamper(
            TimestampConfig(
                url=url, certificates=certificates, timeout_seconds=60, pause_seconds=60
            ),
            clock=clock,
            metrics=metrics,
        )
        stamper.stamp(SIGNED.bundle)
        given.status = 200
        stamper.stamp(SIGNED.bundle)
        clock.advance(60)
        bundle = stamper.stamp(SIGNED.bundle)

    assert len(given.asked) == 2
    assert outcomes(metrics) == {"failed": 1, "skipped": 1, "stamped": 1}
    assert len(parse_bundle(bundle).tokens) == 1


def test_without_an_authority_reports_stay_as_they_are() -> None:
    stamper = open_stamper(None, clock=FakeClock(), metrics=Metrics())

    assert isinstance(stamper, NoStamper)
    assert stamper.stamp(SIGNED.bundle) == SIGNED.bundle


def test_service_does_not_start_with_a_wrong_authority(tmp_path: Path, certificates: Path) -> None:
    missing = TimestampConfig(url="https://time.example", certificates=tmp_path / "none.pem")
    plain = TimestampConfig(url="http://time.example", certificates=certificates)

    with pytest.raises(ArtifactMissingError):
        open_stamper(missing, clock=FakeClock(), metrics=Metrics())
    with pytest.raises(InputError, match=r"timestamp\.url"):
        open_stamper(plain, clock=FakeClock(), metrics=Metrics())


def test_authority_is_set_in_file_and_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.toml"
    path.write_text('[timestamp]\nurl = "https://a.example"\ncertificates = "a.pem"\n')
    monkeypatch.setenv("STAGEAUDIT_TIMESTAMP__URL", "https://b.example")

    found = load_service_config(path).timestamp

    assert found == TimestampConfig(url="https://b.example", certificates=Path("a.pem"))
