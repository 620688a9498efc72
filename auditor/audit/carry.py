"""Groups of actions that carry states through a stage, other than by exact or sampled steps."""

from collections.abc import Callable, Sequence
from typing import TypeAlias, assert_never

from auditor.dynamics.coarse import coarse_advance
from auditor.dynamics.displacement import Twins
from auditor.dynamics.flow import flow
from auditor.dynamics.jump import jump
from auditor.dynamics.minibatches import Lane
from auditor.dynamics.progress import OnBlock
from auditor.dynamics.run import Run
from auditor.dynamics.settle import settle
from auditor.dynamics.state import TrainingState
from auditor.plan.actions import CoarseAdvance, FlowStage, JumpStage, SettleStage, StateRef

Carry: TypeAlias = CoarseAdvance | SettleStage | JumpStage | FlowStage
CARRIES = (CoarseAdvance, SettleStage, JumpStage, FlowStage)


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
    first = specs[0]
    match first:
        case CoarseAdvance():
            own = [spec for spec in specs if isinstance(spec, CoarseAdvance)]
            return coarse_advance(
                run,
                first.stage,
                [state_of(spec.start) for spec in own],
                lanes=[
                    Lane(spec.intervention, spec.fraction, spec.seed, spec.replica) for spec in own
                ],
                block_steps=first.block_steps,
                curvature=first.curvature,
                on_block=on_block,
            )
        case SettleStage():
            settling = [spec for spec in specs if isinstance(spec, SettleStage)]
            lanes = [
                Lane(fraction=spec.fraction, seed=spec.seed, replica=spec.replica)
                for spec in settling
            ]
            return settle(
                run,
                first.stage,
                _twins(settling, state_of),
                lanes=lanes,
                tail=first.tail,
                on_block=on_block,
            )
        case JumpStage():
            jumping = [spec for spec in specs if isinstance(spec, JumpStage)]
            return jump(
                run,
                first.stage,
                _twins(jumping, state_of),
                lane=Lane(fraction=first.fraction, seed=first.seed, replica=first.replica),
                curvature=first.curvature,
                on_block=on_block,
            )
        case FlowStage():
            flowing = [spec for spec in specs if isinstance(spec, FlowStage)]
            on_block(0, 1)
            return flow(run, first.stage, _twins(flowing, state_of), curvature=first.curvature)
        case _:
            assert_never(first)


def _twins(
    specs: Sequence[SettleStage | JumpStage | FlowStage],
    state_of: Callable[[StateRef], TrainingState],
) -> list[Twins]:
    return [(state_of(spec.start), state_of(spec.origin)) for spec in specs]
