"""``stageaudit waive`` and ``gate --waiver``: what is written, counted and refused."""

import json
from pathlib import Path

import pytest

from auditor.attest.trust import trust_key
from service.keys import create_signing_key
from tests.support.reports import make_report
from tests.unit.cli.test_gate import RULE, Desk
from tests.unit.cli.test_verify import leave


class Office(Desk):
    """A failing release, and an approver with a key of her own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.rules = self.policy({**RULE, "at_most": 0.1}, waivers=["approver"])
        self.bundle = self.report()
        stored = create_signing_key(folder / "grace")
        grace = trust_key(stored.public_pem, name="grace")
        self.believe(grace.model_copy(update={"roles": ("approver",), "person": "Grace Hopper"}))
        self.private = stored.private_path
        self.waiver = folder / "waiver.json"

    def waive(self, *arguments: object, rule: str = "no cue") -> int:
        return leave(
            "waive", self.rules, self.bundle, "--rule", rule, "--reason", "as agreed",
            "--role", "approver", "--name", "Grace Hopper", "--organisation", "Model Risk Ltd",
            "--expires", "2999-01-01T00:00:00Z", "--key", self.private, "-o", self.waiver,
            "--trust", self.trust, *arguments,
        )  # fmt: skip


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def test_a_waived_release_passes_and_says_so(
    office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    assert office.gate(office.rules, office.bundle) == 1
    assert office.waive() == 0
    capsys.readouterr()

    assert office.gate(office.rules, office.bundle, "--waiver", office.waiver) == 0

    said = capsys.readouterr().out
    assert "1 of 1 findings, 1 waived" in said
    assert "as agreed" in " ".join(said.split())


def test_json_says_what_was_waived(office: Office, capsys: pytest.CaptureFixture[str]) -> None:
    assert office.waive("--json", "--intervention", "skip vendor") == 0

    printed = json.loads(capsys.readouterr().out)
    assert (printed["rule"], printed["interventions"]) == ("no cue", ["skip vendor"])
    assert printed["expires"] == "2999-01-01T00:00:00Z"


def test_what_cannot_be_waived_has_its_own_exit_code(office: Office) -> None:
    assert office.waive(rule="no such rule") == 10
    assert not office.waiver.exists()

    assert office.waive() == 0
    other = office.policy({**RULE, "at_most": 0.2}, waivers=["approver"])
    assert office.gate(other, office.bundle, "--waiver", office.waiver) == 10


def test_a_waiver_of_another_report_has_its_own_exit_code(office: Office) -> None:
    assert office.waive() == 0
    office.bundle = office.report(make_report(purpose="another"), name="other.json")

    assert office.gate(office.rules, office.bundle, "--waiver", office.waiver) == 12
