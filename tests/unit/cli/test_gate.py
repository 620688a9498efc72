"""``stageaudit gate`` and ``policy check``: exit codes, files, and what is refused."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml

from auditor.attest.trust import TrustedKey, TrustFile, format_trust
from auditor.report.schema import Report
from auditor.stagelog.digest import digest_of
from service.cli.policy_file import read_policy
from tests.support.reports import Signed, make_effect, make_report, make_signed
from tests.support.reviews import Person
from tests.unit.cli.test_verify import leave

RULE = {"name": "no cue", "check": "effect", "query": "cue", "at_most": 0.4}


class Desk:
    """A policy, signed reports, and a trust file with all their keys."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trust = folder / "trust.json"
        self._keys: list[Any] = []

    def policy(self, *rules: dict[str, Any], **changes: Any) -> Path:
        document = {
            "name": "release",
            "duty": {"owner": "ml-platform", "days": 7},
            "rules": list(rules) or [RULE],
            **changes,
        }
        path = self.folder / "policy.yaml"
        path.write_text(yaml.safe_dump(document))
        return path

    def report(self, report: Report | None = None, name: str = "report.json") -> Path:
        signed: Signed = make_signed(report=report)
        self.believe(signed.entry)
        path = self.folder / name
        path.write_bytes(signed.bundle)
        return path

    def believe(self, entry: TrustedKey) -> None:
        """Add a key to the trust file."""
        self._keys.append(entry)
        self.trust.write_bytes(format_trust(TrustFile(keys=tuple(self._keys))))

    def gate(self, policy: Path, report: Path, *arguments: object) -> int:
        return leave("gate", policy, report, "--trust", self.trust, *arguments)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.mark.parametrize(("bound", "code"), [(0.4, 0), (0.1, 1), (0.3, 6)])
def test_exit_code_tells_pass_fail_and_investigate(desk: Desk, bound: float, code: int) -> None:
    assert desk.gate(desk.policy({**RULE, "at_most": bound}), desk.report()) == code


def test_results_are_written_for_pipelines(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    junit, summary, output = (desk.folder / name for name in ("j.xml", "s.md", "r.json"))

    code = desk.gate(
        desk.policy({**RULE, "at_most": 0.1}), desk.report(),
        "--junit", junit, "--summary", summary, "--output", output, "--json",
    )  # fmt: skip

    printed = json.loads(capsys.readouterr().out)
    assert code == 1
    assert printed["outcome"] == "fail"
    assert json.loads(output.read_text()) == printed
    assert ET.parse(junit).getroot().get("failures") == "1"  # noqa: S314 - ours
    assert "Gate release fails" in summary.read_text()


def test_text_names_the_stage_first(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.gate(desk.policy({**RULE, "at_most": 0.1}, {"name": "log", "check": "bound_model"}),
              desk.report())  # fmt: skip

    lines = capsys.readouterr().out.splitlines()
    assert "skip vendor" in lines[1]
    assert lines[-1].startswith("fail: 1 of 2 findings")


def test_files_must_be_what_the_report_is_about(desk: Desk) -> None:
    other = desk.folder / "model.safetensors"
    other.write_bytes(b"another model")

    assert desk.gate(
        desk.policy(), desk.report(), other, "--allow-missing", "stagelog.json"
    ) == 4  # fmt: skip


def test_unsigned_or_foreign_reports_are_not_judged(desk: Desk) -> None:
    report = desk.report()
    foreign = desk.folder / "foreign.json"
    foreign.write_bytes(make_signed().bundle)

    assert desk.gate(desk.policy(), foreign) == 3
    report.write_bytes(report.read_bytes().replace(b"dsseEnvelope", b"dsseEnvelopf"))
    assert desk.gate(desk.policy(), report) == 7


def test_a_policy_that_does_not_fit_has_its_own_exit_code(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = desk.policy({**RULE, "stages": ["pretrain"]})

    assert desk.gate(policy, desk.report()) == 10
    assert "one of clean, vendor, tune" in capsys.readouterr().err


def test_a_baseline_that_does_not_fit_has_its_own_exit_code(desk: Desk) -> None:
    policy = desk.policy({**RULE, "against": "baseline"})
    other = desk.report(make_report(effects=(make_effect(query="loss"),)), name="before.json")
    report = desk.report()

    assert desk.gate(policy, report) == 11
    assert desk.gate(policy, report, "--baseline", other) == 11
    assert desk.gate(policy, report, "--baseline", report) in {0, 6}


def test_policy_check_prints_the_digest_that_a_request_names(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = desk.policy()

    assert leave("policy", "check", policy, "--json") == 0

    found = json.loads(capsys.readouterr().out)
    assert found["digest"] == digest_of(read_policy(policy))
    assert found["warnings"] == []


def test_policy_check_warns_of_bounds_inside_the_noise(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = desk.policy({**RULE, "at_most": 0.3})

    assert leave("policy", "check", policy, "--report", desk.report(), "--json") == 0

    (warning,) = json.loads(capsys.readouterr().out)["warnings"]
    assert "would change from run to run" in warning


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rules": [{**RULE, "check": "magic"}]}, "rules[0]"),
        ({"rules": [RULE, RULE]}, "two rules have one name"),
        ({"rules": []}, "rules"),
        ({"duty": {"owner": "x"}}, "duty.days"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_wrong_policy_names_the_field(
    desk: Desk, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], message: str
) -> None:
    assert leave("policy", "check", desk.policy(**changes)) == 7
    assert message in capsys.readouterr().err


def test_reviews_are_verified_and_judged(desk: Desk) -> None:
    report, ada = desk.report(), Person()
    policy = desk.policy({"name": "validated", "check": "reviews", "role": "validator"})
    review = desk.folder / "review.json"
    review.write_bytes(ada.sign(report.read_bytes()))

    assert desk.gate(policy, report) == 1
    assert desk.gate(policy, report, "--review", review) == 3
    desk.believe(ada.entry())
    assert desk.gate(policy, report, "--review", review) == 0
    other = desk.report(make_report(purpose="another"), name="other.json")
    assert desk.gate(policy, other, "--review", review) == 12


def test_names_that_look_like_markup_are_printed_as_they_are(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "a\\[/bold] rule"

    assert desk.gate(desk.policy({**RULE, "name": name}), desk.report()) == 0

    assert name in " ".join(capsys.readouterr().out.split())
