"""When a group starts: the rule, and 32 audits that arrive at nearly the same time."""

import pytest

from auditor.stagelog.digest import sha256
from service.scheduler.batch_delay import AT_ONCE, NOT_YET, Launch, When, usual_delay_seconds
from service.scheduler.batching import PASSED_OVER_LIMIT, choose
from service.scheduler.ready import ReadyAction
from tests.support.ready_list import ReadyList

NOW = 1000.0
DELAY = 0.05


def make_ready(
    number: int, *, group: str = "g", waited: float = 0.0, priority: int = 1
) -> ReadyAction:
    return ReadyAction(
        id=number, tenant="default", kind="advance", group_key=sha256(group.encode()),
        priority=priority, deadline=1e9, height=0, ready_since=NOW - waited, max_lanes=None,
    )  # fmt: skip


def starts_at(when: When, *, lanes: int, to_come: int = 0, waited: float = 0.01) -> float:
    launch = Launch(when=when, max_delay_seconds=DELAY)
    group = [make_ready(number, waited=waited) for number in range(lanes)]
    return launch.starts_at(group, room=10, to_come=lambda: to_come)


@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize("to_come", [0, 7])
def test_a_group_with_four_fifths_of_its_lanes_starts_at_once(when: When, to_come: int) -> None:
    assert starts_at(when, lanes=8, to_come=to_come) == AT_ONCE


def test_an_idle_device_waits_for_nothing_when_no_audit_arrives() -> None:
    assert starts_at(When.NOW, lanes=1, to_come=7) == AT_ONCE


def test_an_idle_device_waits_out_the_delay_while_an_audit_arrives() -> None:
    assert starts_at(When.SOON, lanes=7) == pytest.approx(NOW - 0.01 + DELAY)


def test_a_busy_device_waits_out_the_delay_when_nothing_is_promised() -> None:
    assert starts_at(When.AHEAD, lanes=7) == pytest.approx(NOW - 0.01 + DELAY)


def test_a_busy_device_waits_for_promised_lanes_until_it_is_idle() -> None:
    assert starts_at(When.AHEAD, lanes=7, to_come=1, waited=100.0) == NOT_YET


def test_the_delay_counts_from_the_member_that_waits_longest() -> None:
    launch = Launch(when=When.SOON, max_delay_seconds=DELAY)
    group = [make_ready(1, priority=2), make_ready(2, waited=0.04)]

    starts = launch.starts_at(group, room=64, to_come=lambda: 0)

    assert starts == pytest.approx(NOW + 0.01)


@pytest.mark.parametrize(("device", "seconds"), [("cpu", 0.05), ("cuda:0", 0.2), ("cuda", 0.2)])
def test_a_gpu_waits_longer_than_a_cpu(device: str, seconds: float) -> None:
    assert usual_delay_seconds(device) == seconds


def test_a_group_that_waits_lets_the_next_one_pass_and_says_when_it_is_due() -> None:
    work = ReadyList(
        [make_ready(1, group="new", priority=2), make_ready(2, group="old", waited=DELAY)], now=NOW
    )
    launch = Launch(when=When.SOON, max_delay_seconds=DELAY)

    first = choose(work, lanes_of=lambda _: 64, launch=launch, now=NOW)
    work.ready = work.ready[:1]
    then = choose(work, lanes_of=lambda _: 64, launch=launch, now=NOW)

    assert [action.id for action in first.group] == [2]
    assert (then.group, then.due) == ((), pytest.approx(NOW + DELAY))


def test_a_claim_gives_up_after_so_many_groups_that_wait() -> None:
    ready = [make_ready(number, group=str(number)) for number in range(PASSED_OVER_LIMIT)]
    work = ReadyList([*ready, make_ready(99, group="old", waited=1.0, priority=0)], now=NOW)
    launch = Launch(when=When.SOON, max_delay_seconds=DELAY)

    assert choose(work, lanes_of=lambda _: 64, launch=launch, now=NOW).group == ()


def audits_in_groups(*, delay: float, gap: float, audits: int = 32) -> list[int]:
    """Return the sizes of the groups of audits of three stages, one audit stored every ``gap``.

    One device, a group takes a second; audits are on their way from the beginning until the last
    one is stored. Time jumps to the next moment at which something can change.
    """
    stored = [NOW + number * gap for number in range(audits)]
    stage_of = dict.fromkeys(range(audits), 0)
    since = dict(enumerate(stored))
    now, sizes = NOW, []
    while min(stage_of.values()) < 3:
        ready = [
            ReadyAction(
                id=number, tenant="default", kind="advance", priority=1, deadline=1e9,
                group_key=sha256(str(stage).encode()), height=3 - stage,
                ready_since=since[number], max_lanes=None,
            )
            for number, stage in stage_of.items()
            if stage < 3 and since[number] <= now
        ]  # fmt: skip
        when = When.SOON if now < stored[-1] else When.NOW
        launch = Launch(when=when, max_delay_seconds=delay)
        work = ReadyList(ready, now=now)
        choice = choose(work, lanes_of=lambda _: 64, launch=launch, now=now)
        if choice.group:
            now += 1.0
            sizes.append(len(choice.group))
            for action in choice.group:
                stage_of[action.id] += 1
                since[action.id] = now
        else:
            now = min(choice.due, *(at for at in stored if at > now))
    return sizes


def test_audits_asked_for_at_nearly_the_same_time_form_full_groups() -> None:
    assert audits_in_groups(delay=DELAY, gap=0.001) == [32, 32, 32]


def test_without_the_delay_the_first_audit_runs_alone() -> None:
    assert audits_in_groups(delay=0.0, gap=0.001)[:2] == [1, 31]


def test_audits_that_trickle_in_meet_behind_the_first_group_and_stay_together() -> None:
    """The delay ends before all are there; height lets the rest catch up, then all go together."""
    sizes = audits_in_groups(delay=DELAY, gap=0.01)

    assert sizes[0] in {5, 6}
    assert sizes[1:] == [32 - sizes[0], 32, 32]
