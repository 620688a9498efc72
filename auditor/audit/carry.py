"""Groups of actions that carry displacements through a stage, other than by advancing states."""

from collections.abc import Callable, Sequence
from typing import TypeAlias, assert_never

from auditor.dynamics.flow import flow
from auditor.dynamics.jump import jump
from auditor.dynamics.minibatches import Lane
from auditor.dynamics.progress import OnBlock
from auditor.dynamics.run import Run
from auditor.dynamics.settle import settle
from auditor.dynamics.state import TrainingState
from auditor.plan.actions import FlowStage, JumpStage, SettleStage, StateRef

Carry: TypeAlias = SettleStage | JumpStage | FlowStage
CARRIES = (SettleStage, JumpStage, FlowStage)


def carried(
    run: Run,
    specs: Sequence[Carry],
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
    first, twins = specs[0], [(state_of(spec.start), state_of(spec.origin)) for spec in specs]
    match first:
        case SettleStage():
            lanes = [
                Lane(fraction=spec.fraction, seed=spec.seed, replica=spec.replica)
                for spec in specs
                if isinstance(spec, SettleStage)
            ]
            return settle(run, first.stage, twins, lanes=lanes, tail=first.tail, on_block=on_block)
        case JumpStage():
            return jump(run, first.stage, twins, curvature=first.curvature, on_block=on_block)
        case FlowStage():
            on_block(0, 1)
            return flow(run, first.stage, twins, curvature=first.curvature)
        case _:
            assert_never(first)
