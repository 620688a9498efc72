"""Watching what another front end does, which tells nobody here."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.operations import AuditOperations
from service.records.front_end import FrontEnd
from service.scheduler.states import AuditState
from service.threads import Threads
from service.watching import Watching
from tests.support.fake_clock import FakeClock
from tests.support.job_records import TENANT, Records, make_action, make_audit
from tests.support.scheduler_rig import Rig

PATIENCE_SECONDS = 60
LOOK_SECONDS = 0.001


@pytest.fixture
def rig(records_at: Path | str) -> Iterator[Rig]:
    opened = Rig(records_at, front_end=FrontEnd(id="A"))
    yield opened
    opened.close()


@pytest.fixture
def other(rig: Rig, records_at: Path | str) -> Iterator[Records]:
    opened = Records(records_at, FakeClock(), front_end=FrontEnd(id="B"))
    yield opened
    opened.database.close()


@pytest.fixture
def threads() -> Iterator[Threads]:
    opened = Threads(count=1)
    yield opened
    opened.close()


def watching(rig: Rig, threads: Threads) -> Watching:
    operations = AuditOperations(
        audits=rig.records.audits,
        reader=rig.records.reader,
        rounds=rig.rounds,
        report=rig.scheduler.report,
    )
    return Watching(
        operations,
        notices=rig.notices,
        overview=rig.overview,
        threads=threads,
        clock=rig.clock,
        look_seconds=LOOK_SECONDS,
    )


def test_waiting_ends_with_an_audit_that_another_front_end_ended(
    rig: Rig, other: Records, threads: Threads
) -> None:
    new = make_audit(make_action("a"))
    rig.records.audits.create(new, gone=())

    async def wait() -> AuditState:
        waiting = asyncio.create_task(
            watching(rig, threads).end(TENANT, new.id, seconds=PATIENCE_SECONDS)
        )
        await asyncio.to_thread(other.audits.end, new.id, failure=None)
        return (await waiting).state

    assert asyncio.run(wait()) is AuditState.CANCELLED


def test_a_stream_tells_what_another_front_end_did(
    rig: Rig, other: Records, threads: Threads
) -> None:
    new = make_audit(make_action("a"))
    rig.records.audits.create(new, gone=())

    async def watch() -> list[int]:
        seen = []
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for response in watching(rig, threads).events(TENANT, new.id, after=0):
                seen.append(response.sequence)
                if len(seen) == 1:
                    await asyncio.to_thread(other.claim)
                if len(seen) == 2:
                    await asyncio.to_thread(other.audits.end, new.id, failure=None)
        return seen

    assert asyncio.run(watch()) == [1, 2, 3]
