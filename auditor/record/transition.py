"""What changed between two stages, found by comparing the model and the optimizer with before."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, final

from torch import Tensor

from auditor.errors import UnsupportedError
from auditor.record.snapshot import Snapshot, equal_tensors


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class StateChange:
    """The part of a transition that is visible before the stage's first step.

    Attributes:
        optimizer: Whether the optimizer state was carried over.
        added: Names with new values: new, or set to other values since the last stage.
        removed: Names that are gone, and those of ``added`` that were there before.
        values: Values of ``added``, ties once.
    """

    optimizer: Literal["reset", "keep"]
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    values: Mapping[str, Tensor]


def state_change(before: Snapshot, now: Snapshot, *, stage: str) -> StateChange:
    """Return what a transition did.

    A parameter whose values changed outside of recorded steps counts as removed and added.

    Args:
        before: State at the end of the stage before.
        now: State when the new stage starts.
        stage: Name of the new stage, for messages.

    Raises:
        UnsupportedError: If the optimizer starts neither fresh nor with the state it ended with.
    """
    changed = {
        name
        for name, value in now.tensors.items()
        if name in before.tensors and not equal_tensors(before.tensors[name], value)
    }
    fresh = changed | (set(now.tensors) - set(before.tensors))
    return StateChange(
        optimizer=_carried(before, now, fresh=fresh, stage=stage),
        added=tuple(sorted(changed | (set(now.infos) - set(before.infos)))),
        removed=tuple(sorted(changed | (set(before.infos) - set(now.infos)))),
        values={name: now.tensors[name] for name in sorted(fresh)},
    )


def _carried(
    before: Snapshot, now: Snapshot, *, fresh: set[str], stage: str
) -> Literal["reset", "keep"]:
    if not now.slots:
        return "reset"
    expected = {
        key: value
        for key, value in before.slots.items()
        if (name := key.partition("/")[2]) in now.tensors and name not in fresh
    }
    differing = sorted(
        key
        for key in now.slots.keys() | expected.keys()
        if key not in now.slots
        or key not in expected
        or not equal_tensors(now.slots[key], expected[key])
    )
    if differing:
        raise UnsupportedError(
            f"stage {stage!r}: optimizer state {differing[0]}",
            expected="a fresh optimizer, or exactly the state the stage before ended with",
            found="another state",
            remedy="Make a new optimizer for the stage, or carry the old one's whole state over; "
            "delete the state of parameters that were set to new values.",
        )
    return "keep"
