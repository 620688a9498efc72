"""CI refuses skips that nobody agreed to."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.house import ROOT

REPORT = """<testsuites><testsuite>
  <testcase classname="tests.unit.test_a" name="test_one"/>
  <testcase classname="tests.gpu.test_b" name="test_two">
    <skipped type="pytest.skip" message="needs a CUDA device"/>
  </testcase>
</testsuite></testsuites>"""


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_skips", ROOT / ".ci" / "check_skips.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("allowed", "code"),
    [
        ("tests/gpu/*: *", 0),
        ("# a comment\n\ntests/gpu/test_b/test_two: needs a CUDA device", 0),
        ("", 1),
        ("tests/gpu/*: needs the program*", 1),
    ],
)
def test_skip_passes_only_when_a_pattern_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], allowed: str, code: int
) -> None:
    (tmp_path / "report.xml").write_text(REPORT)
    (tmp_path / "allowed").write_text(allowed)

    result = load_script().main([str(tmp_path / "report.xml"), str(tmp_path / "allowed")])

    assert result == code
    assert capsys.readouterr().out.startswith("1 skipped")


def test_allow_list_names_no_program() -> None:
    patterns = load_script().read_patterns(ROOT / ".ci" / "allowed-skips")

    assert [pattern for pattern in patterns if "program" in pattern] == []
