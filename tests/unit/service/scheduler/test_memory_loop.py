"""The scheduler and memory: groups that fit, are measured, and shrink when it ran out."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from service.executors.base import GroupFailed, WorkerReady
from service.failures import Failure
from service.records.jobs import NewAction
from service.scheduler.memory import PATIENCE
from tests.support.job_records import key, make_action
from tests.support.scheduler_rig import WORKER, Rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    opened = Rig(tmp_path / "records.sqlite")
    yield opened
    opened.close()


def failure(code: str = "NUMERICAL_FAILURE") -> Failure:
    return Failure(code=code, where="steps[3]", expected="finite", found="inf", remedy="Lower lr.")


def test_the_next_group_of_a_key_that_ran_out_of_memory_is_smaller(rig: Rig) -> None:
    rig.audit(*(make_action(name, group="g") for name in "abcd"))
    group_id, group = rig.running()
    assert len(group.actions) == 4

    rig.turn(GroupFailed(worker=WORKER, group=group_id, failure=failure("RESOURCE_EXHAUSTED")))
    rig.answer_all(failing=key("nothing"), failure=failure())
    before = len(rig.executor.submitted)
    rig.audit(*(make_action(name, group="g") for name in "efgh"))

    sizes = [len(group.actions) for _, _, group in rig.executor.submitted[before:]]
    assert sizes == [2, 2]


def test_groups_are_no_larger_than_what_fits_the_worker(rig: Rig) -> None:
    rig.turn(WorkerReady(worker=WORKER, device="cpu", memory_bytes=round(1.3 * (100 + 3 * 50))))

    rig.audit(
        *(replace(make_action(name, group="g"), fixed_bytes=100, lane_bytes=50) for name in "abcde")
    )

    assert [len(group.actions) for _, _, group in rig.executor.submitted] == [3, 2]


def test_what_is_fixed_counts_for_every_log_of_a_group(rig: Rig) -> None:
    rig.turn(WorkerReady(worker=WORKER, device="cpu", memory_bytes=round(1.3 * (2 * 100 + 4 * 50))))

    logs = {"a": "x", "b": "y", "c": "z", "d": "x", "e": "x", "f": "y"}
    rig.audit(
        *(
            replace(
                make_action(name, group="g"),
                spec=json.dumps({"log": log}),
                fixed_bytes=100,
                lane_bytes=50,
            )
            for name, log in logs.items()
        )
    )

    groups = [
        [json.loads(action.spec)["log"] for action in group.actions]
        for _, _, group in rig.executor.submitted
    ]
    assert groups == [["x", "y", "x", "x"], ["z", "y"]]


def test_measured_memory_makes_the_next_groups_smaller(rig: Rig) -> None:
    rig.turn(WorkerReady(worker=WORKER, device="cpu", memory_bytes=round(1.3 * 4 * 50)))

    def actions(names: str) -> list[NewAction]:
        return [replace(make_action(name, group="g"), lane_bytes=50) for name in names]

    rig.audit(*actions("abcd"))
    _, first = rig.running()
    rig.turn(replace(rig.answer(), peak_bytes=10 * 4 * 50))
    before = len(rig.executor.submitted)
    rig.audit(*actions("efgh"))

    assert len(first.actions) == 4
    assert len(rig.executor.submitted[before][2].actions) < 4
    ratio = rig.metrics.registry.get_sample_value(
        "stageaudit_device_memory_prediction_ratio", {"kind": "advance"}
    )
    assert ratio == 10.0


def test_what_ran_out_of_memory_is_tried_again_in_time(rig: Rig) -> None:
    rig.audit(*(make_action(name, group="g") for name in "ab"))
    group_id, _ = rig.running()
    rig.turn(GroupFailed(worker=WORKER, group=group_id, failure=failure("RESOURCE_EXHAUSTED")))
    rig.answer_all(failing=key("nothing"), failure=failure())

    for number in range(PATIENCE):
        rig.audit(make_action(f"{number}", group="g"))
        rig.answer_all(failing=key("nothing"), failure=failure())
    rig.audit(*(make_action(name, group="g") for name in "cd"))

    assert len(rig.running()[1].actions) == 2
