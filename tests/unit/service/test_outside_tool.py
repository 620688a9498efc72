"""Tools of the requester: how they are named, run and ended, and what they may write."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save, save_file

from auditor.effects import Tool
from auditor.errors import (
    AuditorError,
    InputError,
    PermissionDeniedError,
    PreconditionError,
    ResourceError,
)
from auditor.stagelog.digest import sha256
from service.outside_tool import CommandTools, parse_tools
from service.outside_values import read_values

CHECKPOINT = save({"weight": np.arange(3.0)})
MEASURE = """
import json, sys
from safetensors.numpy import load_file
weight = load_file(sys.argv[1])["weight"]
with open(sys.argv[2], "w") as file:
    for identifier in (2, 0, 1):
        file.write(json.dumps({"id": identifier, "value": float(weight[identifier]) * 10}) + "\\n")
"""


def make_tool(folder: Path, script: str, *, label: str = "tool@1.2") -> dict[str, Tool]:
    path = folder / "measure.py"
    path.write_text(script)
    return parse_tools([f"{label}={sys.executable} '{path}' {{checkpoint}} {{values}}"])


def run(tools: dict[str, Tool], *, limit_seconds: float = 60.0):
    return CommandTools(tools, limit_seconds=limit_seconds).evaluate(tools["tool"], CHECKPOINT)


def test_tool_reads_the_checkpoint_and_returns_values_by_id(tmp_path: Path) -> None:
    found = run(make_tool(tmp_path, MEASURE))

    assert found.ids.tolist() == [0, 1, 2]
    assert found.values.tolist() == [0.0, 10.0, 20.0]


def test_tool_is_named_with_version_and_digests(tmp_path: Path) -> None:
    tool = make_tool(tmp_path, MEASURE)["tool"]

    assert (tool.name, tool.version) == ("tool", "1.2")
    assert {file.name: file.digest for file in tool.files} == {
        Path(sys.executable).name: sha256(Path(sys.executable).read_bytes()),
        "measure.py": sha256(MEASURE.encode()),
    }


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("tool", InputError),
        ("=true {checkpoint} {values}", InputError),
        ("tool=true {checkpoint}", InputError),
        ("tool=true '{checkpoint} {values}", InputError),
        ("tool=no-such-program {checkpoint} {values}", PreconditionError),
    ],
)
def test_flags_of_another_form_are_refused(text: str, error: type[AuditorError]) -> None:
    with pytest.raises(error, match="--outside"):
        parse_tools([text])


def test_a_tool_named_twice_is_refused() -> None:
    with pytest.raises(InputError, match="every tool once"):
        parse_tools(["t=true {checkpoint} {values}"] * 2)


def test_failure_shows_what_the_tool_said_last(tmp_path: Path) -> None:
    tools = make_tool(tmp_path, "raise SystemExit('no such benchmark')")

    with pytest.raises(PreconditionError, match=r"exit code 1[\s\S]*\| no such benchmark"):
        run(tools)


def test_a_tool_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    script = "import threading, sys\nprint('waiting', flush=True)\nthreading.Event().wait()"
    tools = make_tool(tmp_path, script)

    with pytest.raises(ResourceError, match="--outside-seconds"):
        run(tools, limit_seconds=1.0)


def test_a_tool_that_the_command_line_did_not_name_is_not_run(tmp_path: Path) -> None:
    tools = make_tool(tmp_path, MEASURE)
    other = tools["tool"].model_copy(update={"command": ("touch", str(tmp_path / "written"))})

    with pytest.raises(PermissionDeniedError, match="--outside tool=COMMAND"):
        CommandTools(tools, limit_seconds=60.0).evaluate(other, CHECKPOINT)

    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([{"id": 0, "value": 1.0}, {"id": 0, "value": 2.0}], "id 0 twice"),
        ([{"id": 0, "value": 1.0}, {"value": 2.0}], "no id in row 1"),
        ([{"value": float("nan")}], "nan"),
        ([{"value": True}], "True"),
        ([{"value": "0.5"}], "0.5"),
        ([{"id": 0.5, "value": 1}], "0.5"),
        ([{"id": 0}], "'id': 0"),
        ([{"id": 2**70, "value": 1}], "1180591620717411303424"),
        (["x"], "x"),
        ([], "no values"),
    ],
)
def test_values_of_another_form_are_refused(tmp_path: Path, lines: list, found: str) -> None:
    path = tmp_path / "values"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    with pytest.raises(InputError) as refused:
        read_values(path, tool="t")

    assert found in refused.value.found
    assert "tool 't'" in refused.value.where


def test_values_may_be_tensors(tmp_path: Path) -> None:
    path = tmp_path / "values"
    save_file({"values": np.array([3.0, 1.0]), "id": np.array([7, 5])}, path)

    found = read_values(path, tool="t")

    assert (found.ids.tolist(), found.values.tolist()) == ([5, 7], [1.0, 3.0])


def test_values_without_ids_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "values"
    path.write_text('{"value": 2}\n\n{"value": 1}\n')

    assert read_values(path, tool="t").ids.tolist() == [0, 1]


def test_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"found no file. Let the tool write"):
        read_values(tmp_path / "none", tool="t")
