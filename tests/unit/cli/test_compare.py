"""``stageaudit compare``: exit codes, files, and what stands first."""

import json
from pathlib import Path
from typing import Any

import pytest

from auditor.attest.trust import TrustFile, format_trust
from auditor.report.schema import Report
from tests.support.reports import make_effect, make_report, make_signed
from tests.unit.cli.test_verify import leave


class Desk:
    """Two signed reports, and a trust file with both keys."""

    def __init__(self, folder: Path, b: Report) -> None:
        self.folder = folder
        signed = {"a.json": make_signed(), "b.json": make_signed(report=b)}
        for name, own in signed.items():
            (folder / name).write_bytes(own.bundle)
        self.trust = folder / "trust.json"
        self.trust.write_bytes(
            format_trust(TrustFile(keys=tuple(s.entry for s in signed.values())))
        )

    def compare(self, *arguments: object) -> int:
        paths = [self.folder / "a.json", self.folder / "b.json"]
        return leave("compare", *paths, "--trust", self.trust, *arguments)


def with_effect(**changes: Any) -> Report:
    return make_report(effects=(make_effect(**changes),))


def test_results_are_written_and_printed_alike(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary, output, page = (tmp_path / name for name in ("s.md", "r.json", "c.html"))

    code = Desk(tmp_path, with_effect(value=0.3)).compare(
        "--summary", summary, "--output", output, "--html", page, "--json"
    )

    printed = json.loads(capsys.readouterr().out)
    assert code == 0
    assert json.loads(output.read_text()) == printed
    assert printed["rows"][0]["difference"] == pytest.approx(0.05)
    assert "| cue | skip vendor |" in summary.read_text()
    assert page.read_text().startswith("<!doctype html>")


def test_settings_are_printed_before_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = Desk(tmp_path, make_report(assurance="third_party")).compare()

    out = capsys.readouterr().out
    assert code == 0
    assert out.index("third_party") < out.index("skip vendor")


def test_what_is_not_comparable_has_an_exit_code_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Desk(tmp_path, with_effect(unit="logit")).compare() == 22
    assert "other unit" in capsys.readouterr().out


def test_unsigned_or_changed_reports_are_not_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = Desk(tmp_path, make_report())
    stranger = make_signed()
    (tmp_path / "b.json").write_bytes(stranger.bundle)

    assert desk.compare() == 3
    assert capsys.readouterr().out == ""


def test_names_of_others_are_printed_as_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Desk(tmp_path, with_effect(intervention="skip [red]x[/]")).compare() == 22
    assert "[red]x[/]" in capsys.readouterr().out
