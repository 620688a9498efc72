"""Records of executions that contradict themselves are refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from auditor.report.execution import Environment, ExecutedGroup, Executions
from auditor.stagelog.digest import sha256

A, B = sha256(b"a"), sha256(b"b")
HERE = Environment(
    stageaudit="1", torch="2", numpy="2", python="3", device="cpu", device_name="x86_64 AVX2",
    threads=1, deterministic=True,
)  # fmt: skip


@pytest.mark.parametrize("change", [{"results": (A,)}, {"lanes": 1}, {"lanes": 0}])
def test_group_has_a_result_a_key_and_lanes_for_them(change: dict[str, Any]) -> None:
    group = {"environment": 0, "lanes": 2, "keys": (A, B), "results": (B, A)}

    assert ExecutedGroup(**group).in_one_go
    with pytest.raises(ValidationError):
        ExecutedGroup(**(group | change))


def test_group_is_of_a_listed_environment() -> None:
    group = ExecutedGroup(environment=1, lanes=1, keys=(A,), results=(B,))

    with pytest.raises(ValidationError):
        Executions(environments=(HERE,), groups=(group,))
