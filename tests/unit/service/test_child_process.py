"""A child's answer, progress, error or end reaches the caller as a value or a typed error."""

from typing import Any

import pytest

from auditor.errors import AuditorError, InputError, InternalError, ResourceError
from service.child_process import run_job


def child(do: str, *, seconds: float = 60.0, said: list[str] | None = None) -> dict[str, Any]:
    return run_job(
        "tests.support.odd_children",
        {"do": do},
        what="odd.bin",
        seconds=seconds,
        environment={"ONLY": "this"},
        on_progress=lambda text: None if said is None else said.append(text),
    )


def test_answer_and_progress_come_back_and_the_environment_is_its_own() -> None:
    said: list[str] = []

    found = child("answer", said=said)

    assert said == ["half"]
    assert found["environment"]["ONLY"] == "this"
    assert set(found["environment"]) <= {"ONLY", "LC_CTYPE"}


@pytest.mark.parametrize(
    ("do", "error", "text"),
    [
        ("error", InputError, "w: expected e, found f"),
        ("limit", ResourceError, "memory"),
        ("killed", ResourceError, "memory"),
        ("die", InternalError, "status 3: the last words"),
    ],
)
def test_what_goes_wrong_is_a_typed_error(do: str, error: type[AuditorError], text: str) -> None:
    with pytest.raises(error, match=text):
        child(do)


def test_a_child_that_hangs_is_ended() -> None:
    with pytest.raises(ResourceError, match="limit on time"):
        child("hang", seconds=0.5)
