"""Groups of actions that carry displacements through a stage, other than by advancing states."""

from collections.abc import Callable, Sequence

from auditor.dynamics.minibatches import Lane
from auditor.dynamics.progress import OnBlock
from auditor.dynamics.run import Run
from auditor.dynamics.settle import settle
from auditor.dynamics.state import TrainingState
from auditor.plan.actions import SettleStage, StateRef


def carried(
    run: Run,
    specs: Sequence[SettleStage],
    *,
    state_of: Callable[[StateRef], TrainingState],
    on_block: OnBlock,
) -> list[TrainingState]:
    """Return the states that actions of one group result in.

    Args:
        run: The recorded run.
        specs: At least one action, all of one group.
        state_of: Reads a state at the boundary before their stage.
        on_block: Told about progress.
    """
    first = specs[0]
    return settle(
        run,
        first.stage,
        [(state_of(spec.start), state_of(spec.origin)) for spec in specs],
        lanes=[
            Lane(fraction=spec.fraction, seed=spec.seed, replica=spec.replica) for spec in specs
        ],
        tail=first.tail,
        on_block=on_block,
    )
