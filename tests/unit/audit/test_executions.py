"""What a report says of the groups that its actions ran in."""

import pytest

from auditor.audit import executions
from auditor.audit.executions import executions_of
from auditor.plan.actions import ActionKey
from auditor.report.execution import Environment, GroupExecution
from auditor.stagelog.digest import Digest, canonical_bytes, sha256
from tests.support.memory_blobs import MemoryBlobs

HERE = Environment(
    stageaudit="1", torch="2", numpy="2", python="3", device="cpu", device_name="x86_64 AVX2",
    threads=1, deterministic=True,
)  # fmt: skip
A, B, C = (ActionKey(sha256(name)) for name in (b"a", b"b", b"c"))


def stored(blobs: MemoryBlobs, *keys: ActionKey, environment: Environment = HERE) -> Digest:
    ran = GroupExecution(
        environment=environment,
        keys=keys,
        results=tuple(sha256(key.encode()) for key in keys),
        in_one_go=True,
    )
    return blobs.write(canonical_bytes(ran))


def test_groups_are_listed_with_results_and_one_entry_an_environment() -> None:
    blobs = MemoryBlobs()
    pair, single = stored(blobs, B, A), stored(blobs, C)

    found = executions_of({A: pair, B: pair, C: single}, blobs=blobs)

    assert found.environments == (HERE,)
    assert [group.keys for group in found.groups] == [(B, A), (C,)]
    assert found.groups[0].results == (sha256(B.encode()), sha256(A.encode()))
    assert (found.groups[0].lanes, found.unknown) == (2, 0)


def test_lanes_of_other_audits_are_counted_and_not_named() -> None:
    blobs = MemoryBlobs()

    found = executions_of({A: stored(blobs, A, B, C)}, blobs=blobs)

    assert (found.groups[0].lanes, found.groups[0].keys) == (3, (A,))


def test_an_action_computed_again_counts_for_its_last_group() -> None:
    blobs = MemoryBlobs()
    first, again = stored(blobs, A, B), stored(blobs, A)

    found = executions_of({A: again, B: first}, blobs=blobs)

    assert sorted((group.lanes, group.keys) for group in found.groups) == [(1, (A,)), (2, (B,))]


def test_results_of_earlier_versions_are_counted_as_unknown() -> None:
    blobs = MemoryBlobs()

    found = executions_of({A: None, B: Digest("0" * 64), C: stored(blobs, C)}, blobs=blobs)

    assert (len(found.groups), found.unknown) == (1, 2)


def test_too_many_actions_for_a_bundle_are_only_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executions, "ACTIONS_LIMIT", 1)
    blobs = MemoryBlobs()
    pair = stored(blobs, A, B)

    found = executions_of({A: pair, B: pair}, blobs=blobs)

    assert (found.groups, found.unknown) == ((), 2)
