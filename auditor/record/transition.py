"""What changed between two stages, found by comparing the model and the optimizer with before."""

from collections.abc import Mapping
from dataclasses import dataclass, field
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
        renamed: New name -> old name of tensors that are there under another name, such as the base
            weights of an adapter.
        values: Values of ``added``, ties once.
    """

    optimizer: Literal["reset", "keep"]
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
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
    renamed = _renamed(before, now)
    before = _with_names(before, {old: new for new, old in renamed.items()})
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
        renamed=renamed,
        values={name: now.tensors[name] for name in sorted(fresh)},
    )


def _renamed(before: Snapshot, now: Snapshot) -> dict[str, str]:
    """Return the new names of unchanged tensors, and their old ones.

    The same object under another name, or the only equal one that came for the only one that went.
    """
    gone = [name for name in before.tensors if name not in now.infos]
    came = [name for name in now.tensors if name not in before.infos]
    found: dict[str, str] = {}
    for new in came:
        value = now.tensors[new]
        equal = [old for old in gone if equal_tensors(before.tensors[old], value)]
        held = now.holders[new]() if new in now.holders else None
        same = [
            old
            for old in equal
            if held is not None and old in before.holders and before.holders[old]() is held
        ]
        rivals = [n for n in came if equal_tensors(now.tensors[n], value)]
        if same or (len(equal) == 1 and len(rivals) == 1 and _is_varied(value)):
            found[new] = (same or equal)[0]
    return found


def _is_varied(value: Tensor) -> bool:
    """Return whether a tensor has two values: zeros are equal to any other zeros."""
    return value.numel() > 1 and bool((value != value.flatten()[0]).any())


def _with_names(state: Snapshot, new_names: Mapping[str, str]) -> Snapshot:
    """Return a state under the names that its tensors have later."""
    if not new_names:
        return state

    def key_of(slot: str) -> str:
        kind, _, name = slot.partition("/")
        return f"{kind}/{new_names.get(name, name)}"

    return Snapshot(
        infos={new_names.get(name, name): info for name, info in state.infos.items()},
        tensors={new_names.get(name, name): value for name, value in state.tensors.items()},
        slots={key_of(key): value for key, value in state.slots.items()},
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
