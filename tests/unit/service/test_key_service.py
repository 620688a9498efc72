"""A signing key in AWS KMS, which a server on loopback plays: it signs, or audits wait."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from auditor.attest.bundle import sign_report
from auditor.attest.keys import generate_key, keyid_of
from auditor.attest.trust import TrustFile, trust_key
from auditor.attest.verify import verify_bundle
from auditor.errors import InputError, UnavailableError, UnsupportedError
from service.config import ServiceConfig
from service.key_service import (
    ATTEMPTS,
    CONNECT_SECONDS,
    PAUSE_SECONDS,
    READ_SECONDS,
    open_key_service,
    short_client,
)
from service.own_trust import own_trust
from service.signing import service_signer
from service.signing_config import SigningConfig
from tests.support.fake_clock import FakeClock
from tests.support.key_service import KeyService, key_service
from tests.support.reports import SUBJECTS, make_report

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_MAX_ATTEMPTS": "1",
    "NO_PROXY": "127.0.0.1",
}


@pytest.fixture
def kms(monkeypatch: pytest.MonkeyPatch) -> Iterator[KeyService]:
    with key_service() as running:
        for name, value in (ENVIRONMENT | {"AWS_ENDPOINT_URL_KMS": running.url}).items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def held(kms: KeyService, tmp_path: Path) -> SigningConfig:
    """Return a key that the key service holds, with its public part exported."""
    public = tmp_path / "signer.pub.pem"
    public.write_text(kms.make("alias/stageaudit"))
    return SigningConfig(key="awskms:alias/stageaudit", public_key=public)


def test_a_report_signed_by_the_key_service_verifies(held: SigningConfig) -> None:
    public = held.public_key.read_text()

    signer = open_key_service(held, clock=FakeClock())
    bundle = sign_report(make_report(), SUBJECTS, signer)

    trust = TrustFile(keys=(trust_key(public, name="kms"),))
    assert signer.public_key.keyid == keyid_of(public)
    assert verify_bundle(bundle, trust, files={}).report == make_report()


def test_the_service_keeps_the_public_part_among_its_own(
    held: SigningConfig, tmp_path: Path
) -> None:
    config = ServiceConfig(data_dir=tmp_path / "data", signing=held)

    signer = service_signer(config, clock=FakeClock())
    again = service_signer(config, clock=FakeClock())

    assert again.public_key.keyid == signer.public_key.keyid
    (entry,) = own_trust(config.keys_dir).keys
    assert entry.keyid == signer.public_key.keyid
    assert not list(config.keys_dir.glob("signing*"))


def test_another_public_key_is_refused_at_the_start(held: SigningConfig, kms: KeyService) -> None:
    held.public_key.write_text(kms.make("alias/other"))

    with pytest.raises(InputError, match="the public part of awskms:"):
        open_key_service(held, clock=FakeClock())


def test_a_key_service_that_does_not_sign_is_unavailable(
    held: SigningConfig, kms: KeyService
) -> None:
    signer = open_key_service(held, clock=FakeClock())
    kms.refusing = True

    with pytest.raises(UnavailableError, match="AccessDeniedException"):
        signer.sign(b"a report")


def test_a_key_service_that_failed_is_left_alone_for_a_while(
    held: SigningConfig, kms: KeyService
) -> None:
    clock = FakeClock()
    signer = open_key_service(held, clock=clock)
    kms.refusing = True
    with pytest.raises(UnavailableError):
        signer.sign(b"a report")
    kms.refusing = False
    asked = kms.asked

    clock.advance(PAUSE_SECONDS - 1)
    with pytest.raises(UnavailableError, match="not asked for 1 s more"):
        signer.sign(b"another report")
    meanwhile = kms.asked
    clock.advance(1)
    signature = signer.sign(b"a report")

    assert meanwhile == asked
    signer.public_key.verify_signature(signature, b"a report")


def test_a_key_service_that_is_broken_is_not_asked_for_long(
    held: SigningConfig, kms: KeyService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "5")
    signer = open_key_service(held, clock=FakeClock())
    kms.asked, kms.failing = 0, True

    with pytest.raises(UnavailableError, match="KMSInternal"):
        signer.sign(b"a report")

    assert kms.asked == ATTEMPTS


@pytest.mark.usefixtures("kms")
def test_a_silent_key_service_holds_the_scheduler_for_seconds() -> None:
    config = short_client().meta.config

    assert (config.connect_timeout, config.read_timeout) == (CONNECT_SECONDS, READ_SECONDS)
    # The default lease: a signature that fails ends before any lease does.
    lease = ServiceConfig.model_fields["lease_seconds"].default
    assert lease / 2 > ATTEMPTS * (CONNECT_SECONDS + READ_SECONDS)


def test_the_start_without_a_signature_promises_no_waiting(
    held: SigningConfig, kms: KeyService
) -> None:
    kms.refusing = True

    with pytest.raises(UnavailableError, match="none starts before"):
        open_key_service(held, clock=FakeClock())


def test_a_key_that_the_key_service_does_not_have_is_named(held: SigningConfig) -> None:
    missing = SigningConfig(key="awskms:alias/nothing", public_key=held.public_key)

    with pytest.raises(UnavailableError, match="alias/nothing"):
        open_key_service(missing, clock=FakeClock())


@pytest.mark.parametrize("key", ["gcpkms:projects/p", "file2:signing.pem", "alias/stageaudit"])
def test_other_schemes_are_refused_by_name(held: SigningConfig, key: str) -> None:
    with pytest.raises(UnsupportedError, match="awskms:KEY"):
        open_key_service(SigningConfig(key=key, public_key=held.public_key), clock=FakeClock())


def test_a_public_key_that_no_key_service_has_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ed25519.pub.pem"
    path.write_text(generate_key().public_pem)

    with pytest.raises(UnsupportedError, match="P-256"):
        open_key_service(SigningConfig(key="awskms:alias/k", public_key=path), clock=FakeClock())


def test_a_missing_region_is_told(held: SigningConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")

    with pytest.raises(InputError, match="region"):
        open_key_service(held, clock=FakeClock())
