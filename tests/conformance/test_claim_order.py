"""A claim takes what the pure order says, from databases with everything that orders mixed."""

import random
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from sqlalchemy import Connection, select, update

from auditor.stagelog.digest import Digest
from service.records.jobs import LeasedGroup, Retry
from service.records.queue import lease_group
from service.records.tables import action, audit, audit_action
from service.scheduler.batch_delay import When
from service.scheduler.ready import AGEING_SECONDS, ReadyAction
from service.scheduler.states import LIVE_AUDITS, ActionState
from tests.support.fake_clock import FakeClock
from tests.support.job_records import Records, completion, key, make_action, make_audit
from tests.support.ready_list import next_group

TENANTS = ("a", "b", "c")


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    opened = Records(tmp_path / "records.sqlite", FakeClock())
    yield opened
    opened.database.close()


def ready_by_audits(records: Records) -> list[ReadyAction]:
    """Return what is ready, its urgency worked out from the audits that want it."""
    wanted: dict[int, list[tuple[int, float]]] = {}
    query = (
        select(audit_action.c.action, audit.c.priority, audit.c.deadline)
        .join(audit, audit.c.id == audit_action.c.audit)
        .where(audit.c.state.in_(LIVE_AUDITS))
    )
    rows = records.database.read(lambda c: c.execute(query).all())
    for number, priority, deadline in rows:
        wanted.setdefault(number, []).append((priority, deadline))
    ready = select(action).where(
        action.c.state == ActionState.READY, action.c.not_before <= records.clock.seconds()
    )
    return [
        ReadyAction(
            id=row.id,
            tenant=row.tenant,
            kind=row.kind,
            group_key=Digest(row.group_key),
            priority=max(priority for priority, _ in wanted[row.id]),
            deadline=min(deadline for _, deadline in wanted[row.id]),
            height=row.height,
            ready_since=row.not_before,
            max_lanes=row.max_lanes,
        )
        for row in records.database.read(lambda c: c.execute(ready).all())
    ]


def store_audits(records: Records, rng: random.Random) -> list[str]:
    """Store audits that share actions, at different times, and cancel one of them."""
    ids = []
    for number in range(12):
        tenant = rng.choice(TENANTS)
        names = [f"{tenant}{rng.randrange(8)}" for _ in range(3)]
        actions = [make_action(name, group=f"g{name[-1]}") for name in dict.fromkeys(names)]
        actions.append(make_action(f"{tenant}{number} end", *dict.fromkeys(names), group="end"))
        new = make_audit(
            *actions,
            tenant=tenant,
            priority=rng.randrange(3),
            deadline=4e9 + 60.0 * rng.randrange(3),
        )
        records.audits.create(new, gone=())
        ids.append(new.id)
        records.clock.advance(rng.choice((0.0, 1.0, AGEING_SECONDS / 2)))
    records.audits.end(ids.pop(rng.randrange(len(ids))), failure=None)
    return ids


@pytest.mark.parametrize("seed", range(4))
def test_claims_take_what_the_pure_order_says(records: Records, seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - cases, no secrets
    store_audits(records, rng)
    halved = update(action).where(action.c.id % 5 == seed).values(max_lanes=1)
    records.database.write("halve", lambda c: c.execute(halved))
    starts: Mapping[str, float] = {"a": 1.0, "b": float(seed % 2), "c": 1.0}
    claimed = 0

    while True:
        expected = next_group(
            ready_by_audits(records),
            lanes_of=lambda _head: 3,
            now=records.clock.seconds(),
            start_of=starts.__getitem__,
        )
        claim = records.claim_for("w", max_lanes=3, start_of=starts.__getitem__)
        if claim.group is None:
            break
        claimed += 1
        assert [row.lease.action for row in claim.group.actions] == [row.id for row in expected]
        assert [row.priority for row in claim.group.actions] == [row.priority for row in expected]
        if rng.random() < 0.3:
            retry = Retry(delay_seconds=rng.choice((0.0, 5.0)))
            records.leases.put_back({row.lease: retry for row in claim.group.actions})
            records.clock.advance(6.0)
        else:
            records.leases.complete([completion(row) for row in claim.group.actions])

    assert expected == ()
    assert claimed > 12


def test_an_audit_that_joins_makes_its_actions_more_urgent_and_back(records: Records) -> None:
    records.audits.create(make_audit(make_action("other"), priority=1), gone=())
    records.audits.create(make_audit(make_action("shared"), priority=0), gone=())
    gate = make_audit(make_action("shared"), priority=2)
    records.audits.create(gate, gone=())

    first = records.claim()
    assert first is not None
    assert [row.key for row in first.actions] == [key("shared")]
    records.leases.put_back({first.actions[0].lease: Retry(give_back=True)})
    records.audits.end(gate.id, failure=None)

    second = records.claim()
    assert second is not None
    assert [row.key for row in second.actions] == [key("other")]


def test_trajectories_of_audits_that_follow_each_other_pass_a_stage_together(
    records: Records,
) -> None:
    """Deadlines milliseconds apart do not order them one after the other: height does."""
    for number in range(4):
        stages = [
            make_action(
                f"{number} {stage}", *([f"{number} {stage - 1}"] if stage else []), group=f"{stage}"
            )
            for stage in range(3)
        ]
        records.audits.create(make_audit(*stages, deadline=4e9 + 0.005 * number), gone=())
    sizes = []

    while (group := records.claim(max_lanes=3)) is not None:
        sizes.append(len(group.actions))
        records.leases.complete([completion(row) for row in group.actions])

    # 3 then 1 of the first stage, because the height of the fourth is greater than of what follows.
    assert sizes == [3, 1, 3, 1, 3, 1]


def test_of_a_group_only_what_no_other_scheduler_took_is_leased(records: Records) -> None:
    actions = (make_action("a", group="g"), make_action("b", group="g"))
    records.audits.create(make_audit(*actions), gone=())
    chosen = ready_by_audits(records)
    other = records.claim(max_lanes=1)
    assert other is not None

    def late(connection: Connection) -> LeasedGroup | None:
        return lease_group(connection, chosen, owner="late", now=0.0, until=30.0)

    rest = records.database.write("claim", late)
    nothing = records.database.write("claim", late)

    assert [row.key for row in other.actions] == [key("a")]
    assert rest is not None
    assert [row.key for row in rest.actions] == [key("b")]
    assert nothing is None


def test_a_claim_that_waits_says_when_it_is_due(records: Records) -> None:
    records.audits.create(make_audit(make_action("a")), gone=())

    claim = records.claim_for("w", when=When.SOON)

    assert claim.group is None
    assert claim.due == pytest.approx(records.clock.seconds() + 0.05)
    records.clock.advance(0.05)
    assert records.claim(when=When.SOON) is not None
