"""Trajectories that are interrupted inside a stage and go on in what could be another process."""

from collections.abc import Sequence

from auditor.dynamics.minibatches import Lane
from auditor.dynamics.run import Run
from auditor.dynamics.saved import Passage, Places, read_saved, saved_bytes
from auditor.dynamics.state import TrainingState
from auditor.dynamics.trajectory import advance, replay
from tests.support.cases import quiet


def stored(run: Run, places: Places, names: Sequence[str], *, stage: int) -> Places:
    """Return the places as another process reads them from bytes."""
    again = Places()
    for name in names:
        saved = places.get(name)
        if saved is not None:
            again.put(name, read_saved(saved_bytes(saved), run, stage_index=stage))
    return again


def carried_on(run: Run, lane: Lane, *, stage: int, step: int) -> TrainingState:
    """Return the state after a stage that is stored and read after so many of its steps."""
    first = Passage.new(1)
    state = run.transition(stage)(run.boundary(stage))
    replay(run, stage, [state], lanes=[lane], steps=range(step), on_block=quiet, passage=first)
    again = Passage(places=stored(run, first.places, first.names, stage=stage), names=first.names)
    assert again.first_step(0) == step
    start = [run.boundary(stage)]
    return advance(run, stage, start, lanes=[lane], on_block=quiet, passage=again).states[0]
