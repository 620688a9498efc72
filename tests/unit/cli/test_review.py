"""``stageaudit review``, and ``verify`` with reviews: exit codes, text and what is refused."""

import json
from pathlib import Path

import pytest

from auditor.attest.explain import EXPLANATIONS, REVIEWS
from auditor.attest.trust import KeyStatus, TrustFile, format_trust
from auditor.attest.verify import CHECKS
from service.keys import create_signing_key
from tests.support.reports import LOG_BYTES, make_report, make_signed
from tests.support.reviews import Person
from tests.unit.cli.test_verify import Desk, leave


class Office(Desk):
    """A reader's folder with a validator's key, which the trust file binds to that role."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, make_signed())
        self.folder = folder
        stored = create_signing_key(folder / "ada")
        self.private = stored.private_path
        self.review = folder / "review.json"
        assert leave(
            "keys", "trust", stored.public_path, "--name", "Ada's key", "--role", "validator",
            "--person", "Ada Lovelace", "--trust", self.trust,
        ) == 0  # fmt: skip

    def decide(self, decision: str, *arguments: object, key: Path | None = None) -> int:
        return leave(
            "review", self.bundle, "--role", "validator", "--name", "Ada Lovelace",
            "--organisation", "Model Risk Ltd", "--decision", decision,
            "--key", key or self.private, "-o", self.review, "--trust", self.trust, *arguments,
        )  # fmt: skip

    def check(self, *arguments: object) -> int:
        return self.verify("--review", self.review, "--require-review", "validator", *arguments)


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def test_approved_report_verifies_with_its_review(
    office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    assert office.decide("approve", "--comment", "as agreed") == 0
    capsys.readouterr()

    assert office.check() == 0

    said = capsys.readouterr().out
    assert "ok 10 reviews: validator Ada Lovelace, Model Risk Ltd (key Ada's key) approves" in said
    assert "assurance: third_party (it calls itself self_attested)" in said
    assert "comment: as agreed" in said


def test_json_holds_reviews_and_both_assurances(
    office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    office.decide("approve", "--expires", "2999-01-01T00:00:00+01:00")
    capsys.readouterr()

    assert office.check("--json") == 0

    printed = json.loads(capsys.readouterr().out)
    (review,) = printed["reviews"]
    assert printed["checks"][-1]["name"] == "reviews"
    assert (printed["assurance"], printed["assurance_claimed"]) == ("third_party", "self_attested")
    assert (review["standing"], review["role_bound"]) == ("approves", True)
    assert review["expires"] == "2998-12-31T23:00:00Z"


def test_missing_review_has_its_own_exit_code(
    office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    assert office.verify("--require-review", "validator") == 12

    said = capsys.readouterr()
    assert "no 10 reviews" in said.out
    assert "stageaudit review --role validator" in said.err


@pytest.mark.parametrize(
    "arguments",
    [("reject",), ("conditional", "--condition", "retrain"),
     ("approve", "--expires", "2020-01-01T00:00:00Z")],
    ids=["rejects", "conditional", "expired"],
)  # fmt: skip
def test_review_that_does_not_approve_ends_with_12(
    office: Office, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert office.decide(*arguments) == 0

    assert office.check() == 12
    assert office.verify("--review", office.review) == 0
    assert "assurance: self_attested" in capsys.readouterr().out


def test_review_of_another_report_ends_with_12(office: Office) -> None:
    office.decide("approve")
    other = make_signed(report=make_report(purpose="another"))
    keys = (*json_keys(office), other.entry)
    office.bundle.write_bytes(other.bundle)
    office.trust.write_bytes(format_trust(TrustFile(keys=keys)))

    assert office.check() == 12


def json_keys(office: Office) -> tuple[object, ...]:
    return tuple(TrustFile.model_validate_json(office.trust.read_bytes()).keys)


def test_review_by_an_unknown_key_ends_with_3(office: Office) -> None:
    office.review.write_bytes(Person().sign(office.signed.bundle))

    assert office.check() == 3


def test_reviewer_verifies_before_signing(office: Office, tmp_path: Path) -> None:
    log = tmp_path / "stagelog.json"
    log.write_bytes(LOG_BYTES + b" ")
    revoked = office.signed.entry.model_copy(update={"status": KeyStatus.REVOKED})
    altered = TrustFile(keys=(revoked,))

    assert leave(
        "review", office.bundle, log, "--allow-missing", "model.safetensors", "--role", "developer",
        "--name", "A", "--organisation", "O", "--decision", "approve", "--key", office.private,
        "-o", office.review, "--trust", office.trust,
    ) == 4  # fmt: skip
    office.trust.write_bytes(format_trust(altered))
    assert office.decide("approve") == 3
    assert not office.review.exists()


def test_signer_of_the_report_cannot_sign_as_validator(office: Office, tmp_path: Path) -> None:
    own = tmp_path / "own.pem"
    own.write_bytes(office.signed.pair.private_pem)
    own.chmod(0o400)

    assert office.decide("approve", key=own) == 12
    assert not office.review.exists()


def test_options_must_fit(office: Office, tmp_path: Path) -> None:
    assert office.decide("approve", "--condition", "retrain") == 7
    assert office.decide("conditional") == 7
    assert office.decide("approve", "--expires", "tomorrow") == 7
    assert office.decide("maybe") == 2
    assert office.decide("approve", key=tmp_path / "none.pem") == 7
    assert office.verify("--require-review", "king") == 2


def test_every_check_is_explained() -> None:
    assert list(EXPLANATIONS) == [*CHECKS, REVIEWS]


def test_explain_says_what_checks_do_not_show(
    office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    office.decide("approve")
    capsys.readouterr()

    assert office.check("--explain") == 0
    said = capsys.readouterr().out
    assert said.count("does not show ") == len(CHECKS) + 1
    assert EXPLANATIONS["signature"].not_shown in said

    assert office.check("--explain", "--json") == 0
    checks = json.loads(capsys.readouterr().out)["checks"]
    assert all(check["not_shown"] and check["compared"] for check in checks)


def test_explain_says_why_a_failed_check_matters(
    office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    assert office.verify(office.key, "--explain") == 4

    assert capsys.readouterr().out.rstrip().endswith(EXPLANATIONS["subjects"].not_shown)
