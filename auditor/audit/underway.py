"""How far the advances of a group are: what a stopped execution leaves for the next."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

from auditor.dynamics.run import Run
from auditor.dynamics.saved import Passage, Places, read_saved, saved_bytes
from auditor.plan.actions import ActionKey, ActionSpec, Advance, key_of


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class SavedAction:
    """An action inside its stage: its state after ``step`` of the steps, as bytes."""

    key: ActionKey
    step: int
    data: bytes


@final
class Underway:
    """The places of the lanes of one group, by the keys of their actions.

    A key names the trajectory with everything that decides about it, so a state under it is right
    whoever computed it.
    """

    def __init__(self) -> None:
        self._places = Places()
        self._saved: dict[str, int] = {}

    def expect(self, specs: Sequence[ActionSpec]) -> None:
        """Forget everything but these actions, which are executed next."""
        keys = [key_of(spec) for spec in specs]
        self._places.keep_only(keys)
        self._saved = {key: step for key, step in self._saved.items() if key in set(keys)}

    @property
    def resumed(self) -> int:
        """How many expected actions have steps behind them already."""
        return len(self._places.steps())

    def passage(self, specs: Sequence[Advance]) -> Passage:
        """Return the passage of advances that run as lanes."""
        return Passage(places=self._places, names=tuple(key_of(spec) for spec in specs))

    def resume(self, run: Run, spec: Advance, *, data: bytes | memoryview) -> int:
        """Let an advance go on from what :meth:`save` gave, and return its step.

        Raises:
            InputError: If it is no such state.
            StageLogError: If it does not fit the stage.
        """
        key, saved = key_of(spec), read_saved(data, run, stage_index=spec.stage)
        self._places.put(key, saved)
        self._saved[key] = saved.step
        return saved.step

    def save(self) -> Iterator[SavedAction]:
        """Yield the actions that have moved since they were saved last, one state at a time."""
        for key, step in self._places.steps().items():
            saved = self._places.get(key)
            if saved is None or step <= self._saved.get(key, 0):
                continue
            yield SavedAction(key=ActionKey(key), step=step, data=saved_bytes(saved))
            self._saved[key] = step  # only once the reader comes back for more: it is stored
