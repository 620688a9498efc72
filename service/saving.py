"""When and how a worker stores where its actions are; whatever goes wrong there, they go on."""

import sys
import traceback
from collections.abc import Callable, Sequence
from typing import final

from pydantic import TypeAdapter

from auditor.plan.actions import ActionSpec
from auditor.stagelog.digest import Digest
from service.executors.base import Engine
from service.executors.wire import Saved, WireAction, WireSaved
from service.saved_states import SavedStates

COST_FACTOR = 20.0
"""A save waits for so many times what the last one took: saving takes a twentieth of the time."""

_SPEC: TypeAdapter[ActionSpec] = TypeAdapter(ActionSpec)


@final
class Saving:
    """Saves of one worker.

    Args:
        engine: Knows where its actions are.
        states: Where that is stored.
        seconds: How long to compute between two saves.
        monotonic: Seconds from any moment.
    """

    def __init__(
        self,
        engine: Engine,
        states: SavedStates,
        *,
        seconds: float,
        monotonic: Callable[[], float],
    ) -> None:
        self._engine, self._states = engine, states
        self._seconds, self._monotonic = seconds, monotonic
        self._last, self._cost = monotonic(), 0.0

    def begin(self, actions: Sequence[WireAction]) -> int:
        """Let a group that starts go on from what is stored; return how many steps that spares.

        A state that is gone, damaged or of another version spares none.
        """
        steps = 0
        for action in actions:
            if action.saved is None:
                continue
            try:
                data = self._states.read(Digest(action.saved))
                if data is not None:
                    steps += self._engine.resume(_SPEC.validate_json(action.spec), data)
            except Exception:  # noqa: BLE001 - a hint that cannot be used costs time, no more
                sys.stderr.write(traceback.format_exc())
        self._last = self._monotonic()
        return steps

    @property
    def due(self) -> bool:
        """Whether it is time for a save."""
        pause = max(self._seconds, COST_FACTOR * self._cost)
        return self._monotonic() - self._last >= pause

    def save(self, group: int, actions: Sequence[WireAction]) -> Saved | None:
        """Store where actions of a group are; None where none has moved."""
        started, found = self._monotonic(), list[WireSaved]()
        try:
            for own in self._engine.save():
                wanting = [action for action in actions if action.key == own.key]
                if wanting:
                    digest = self._states.write(own.data)
                    found += [
                        WireSaved(key=a.key, fence=a.fence, step=own.step, digest=digest)
                        for a in wanting
                    ]
        except Exception:  # noqa: BLE001 - a full disk, say: what is computed is not lost by it
            sys.stderr.write(traceback.format_exc())
        self._last = self._monotonic()
        self._cost = self._last - started
        return Saved(group=group, saved=tuple(found)) if found else None
