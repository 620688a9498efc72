from collections.abc import Mapping
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.stagelog.digest import sha256
from service.scheduler.ready import AGEING_SECONDS, ReadyAction
from tests.support.ready_list import next_group

NOW = 10_000.0


def make_ready(
    number: int,
    *,
    tenant: str = "default",
    group: str = "g",
    priority: int = 1,
    deadline: float = 1e6,
    height: int = 0,
    waited_seconds: float = 0.0,
    max_lanes: int | None = None,
) -> ReadyAction:
    return ReadyAction(
        id=number,
        tenant=tenant,
        kind="advance",
        group_key=sha256(group.encode()),
        priority=priority,
        deadline=deadline,
        height=height,
        ready_since=NOW - waited_seconds,
        max_lanes=max_lanes,
    )


def ids(
    *ready: ReadyAction, max_lanes: int = 8, starts: Mapping[str, float] = MappingProxyType({})
) -> list[int]:
    def start_of(tenant: str) -> float:
        return starts.get(tenant, 0.0)

    group = next_group(ready, lanes_of=lambda _head: max_lanes, now=NOW, start_of=start_of)
    return [action.id for action in group]


def test_nothing_ready_is_no_group() -> None:
    assert ids() == []


def test_a_group_holds_one_group_key() -> None:
    assert ids(make_ready(1), make_ready(2, group="other"), make_ready(3)) == [1, 3]


def test_a_group_is_cut_at_max_lanes_in_order() -> None:
    assert ids(*(make_ready(number) for number in (3, 1, 2)), max_lanes=2) == [1, 2]


@pytest.mark.parametrize(
    "first",
    [
        {"priority": 2},
        {"deadline": 1e5},
        {"height": 3},
        {"waited_seconds": AGEING_SECONDS},
    ],
)
def test_the_head_is_the_most_urgent(first: dict[str, float]) -> None:
    urgent = make_ready(9, group="urgent", **first)  # type: ignore[arg-type]

    assert ids(make_ready(1), urgent) == [9]


def test_ageing_lifts_batch_work_over_newer_gates() -> None:
    old = make_ready(1, group="old", priority=0, waited_seconds=3 * AGEING_SECONDS)

    assert ids(old, make_ready(2, priority=2)) == [1]


def test_the_tenant_that_was_given_least_is_first_whatever_others_call_urgent() -> None:
    gate = make_ready(1, tenant="busy", priority=2, waited_seconds=9 * AGEING_SECONDS, group="a")
    batch = make_ready(2, tenant="quiet", priority=0, group="b")

    assert ids(gate, batch, starts={"busy": 7.0, "quiet": 6.5}) == [2]


def test_other_tenants_ride_along_in_their_order() -> None:
    ready = [make_ready(n, tenant=t) for n, t in enumerate(["late", "head", "next", "late"])]

    assert ids(*ready, max_lanes=3, starts={"head": 1, "next": 2, "late": 3}) == [1, 2, 0]


def test_a_halved_head_limits_its_group() -> None:
    head = make_ready(1, max_lanes=2)

    assert ids(head, make_ready(2), make_ready(3)) == [1, 2]


def test_a_halved_member_joins_only_groups_small_enough() -> None:
    alone = make_ready(2, max_lanes=1)

    assert ids(make_ready(1), alone, make_ready(3)) == [1, 3]


@given(
    st.lists(
        st.tuples(
            st.sampled_from("ab"), st.integers(0, 2), st.one_of(st.none(), st.integers(1, 4))
        ),
        max_size=12,
    ),
    st.integers(1, 6),
)
def test_every_limit_holds_and_the_head_always_runs(
    rows: list[tuple[str, int, int | None]], max_lanes: int
) -> None:
    ready = [
        make_ready(number, group=group, priority=priority, max_lanes=limit)
        for number, (group, priority, limit) in enumerate(rows)
    ]

    group = next_group(ready, lanes_of=lambda _head: max_lanes, now=NOW, start_of=lambda _: 0.0)

    assert bool(group) == bool(ready)
    assert len({action.group_key for action in group}) <= 1
    assert all(len(group) <= min(max_lanes, a.max_lanes or max_lanes) for a in group)


def test_the_head_decides_how_large_its_group_may_be() -> None:
    ready = [make_ready(1, group="a"), *(make_ready(n, group="b", priority=2) for n in range(2, 9))]

    def lanes_of(head: ReadyAction) -> int:
        return 3 if head.group_key == sha256(b"b") else 64

    group = next_group(ready, lanes_of=lanes_of, now=NOW, start_of=lambda _: 0.0)

    assert [action.id for action in group] == [2, 3, 4]


def test_deadlines_of_one_minute_leave_the_order_to_height() -> None:
    early = make_ready(1, group="early", deadline=60_000.0)
    higher = make_ready(2, group="higher", deadline=60_059.0, height=1)

    assert ids(early, higher) == [2]


def test_deadlines_of_different_minutes_come_before_height() -> None:
    early = make_ready(1, group="early", deadline=59_999.0)
    higher = make_ready(2, group="higher", deadline=60_000.0, height=1)

    assert ids(early, higher) == [1]
