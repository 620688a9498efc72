"""``stageaudit data``: what it prints, and what it refuses as usage."""

import json
from pathlib import Path

import pytest

from service.cli.main import run
from tests.support import raw_files


def data(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        run(["data", *map(str, arguments)])
    return int(ended.value.code or 0)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return raw_files.write_photos(tmp_path / "photos")


def test_what_was_written_is_what_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"x": [1, 2], "label": i % 2, "group": "ab"[i // 2]} for i in range(4)]
    path = raw_files.write_jsonl(tmp_path / "rows.jsonl", rows)

    assert data("from-jsonl", path, "-o", tmp_path / "set", "--json") == 0
    made = json.loads(capsys.readouterr().out)
    assert data("show", tmp_path / "set", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert data("show", tmp_path / "set") == 0
    printed = capsys.readouterr().out

    assert {name: made[name] for name in shown} == shown
    assert made["notes"] == []
    assert shown["columns"]["x"] == {"dtype": "int64", "shape": [2]}
    assert shown["groups"]["group"] == {"a": 2, "b": 2}
    assert shown["digest"] in printed
    assert "rows by group: a 2, b 2" in printed


def test_steps_by_hand_are_named_in_the_answer(
    tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = [
        "--size",
        "9",
        "--crop",
        "8x6",
        "--channels",
        "BGR",
        "--mean",
        "0,0,0",
        "--std",
        "1,1,1",
    ]

    assert data("from-images", photos, "-o", tmp_path / "set", *steps) == 0

    printed = capsys.readouterr().out
    assert "BGR, resized to shortest edge 9 (bilinear), 8x6 of the middle" in printed
    assert "float32 [3, 8, 6]" in printed
    assert "0 cat, 1 dog" in printed
    declared = json.loads((tmp_path / "set" / "preprocessing.json").read_text())
    assert declared["crop"] == [8, 6]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--size", "8by8"], 7),
        (["--size", "0x8"], 7),
        (["--size", "9" * 5000], 7),
        (["--mean", "a,b,c"], 7),
        (["--mean", "0.5"], 7),
        (["--scale", "-1"], 7),
        (["--scale", "nan"], 7),
        (["--preprocessing", ".", "--size", "8x8"], 2),
        (["--channels", "CMYK"], 2),
    ],
)
def test_odd_steps_are_refused(tmp_path: Path, photos: Path, options: list[str], code: int) -> None:
    assert data("from-images", photos, "-o", tmp_path / "set", *options) == code

    assert not (tmp_path / "set").exists()


def test_a_stack_has_a_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = raw_files.write_jsonl(tmp_path / "rows.jsonl", [{"a": 1}])

    assert data("from-jsonl", path, "-o", tmp_path / "set", "--stack", "a,b", "--json") == 7

    assert json.loads(capsys.readouterr().err)["error"]["where"] == "--stack"


def test_texts_of_a_file_do_not_reach_the_terminal_raw(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"x": i, "group": "\x1b[31m[bold]a" if i % 2 else "b"} for i in range(4)]
    path = raw_files.write_jsonl(tmp_path / "rows.jsonl", rows)

    assert data("from-jsonl", path, "-o", tmp_path / "set") == 0

    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "[31m[bold]a 2" in printed


def test_a_folder_that_is_no_set_is_not_shown(tmp_path: Path) -> None:
    assert data("show", tmp_path) == 7
