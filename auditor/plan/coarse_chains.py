"""Trajectories in blocks of steps, as chains of actions in normal form."""

from collections.abc import Mapping
from typing import Literal, Protocol

from auditor.plan.actions import Advance, CoarseAdvance, Computed, Recorded, StateRef, key_of
from auditor.plan.chains import advance, draws_data, is_whole_skip
from auditor.plan.curvature import SampledCurvature
from auditor.plan.request import Intervention
from auditor.stagelog.log import StageLog


class Blocks(Protocol):
    """How a coarse replay divides a run into blocks."""

    @property
    def block_steps(self) -> int:
        """Steps of a block."""

    @property
    def fraction(self) -> float:
        """Part of a block's examples on which its gradient is taken."""

    @property
    def curvature(self) -> Literal["none", "ekfac"]:
        """H of the local model."""

    @property
    def curvature_examples(self) -> int:
        """How many examples of a stage its EK-FAC is computed from."""


def coarse_chain(
    log: StageLog,
    log_digest: str,
    first: int,
    *,
    interventions: Mapping[int, Intervention],
    settings: Blocks,
    replica: int,
    seed: int,
) -> tuple[tuple[Advance | CoarseAdvance, ...], StateRef]:
    """Return the actions that carry boundary ``first`` to the end, and the state they lead to.

    Stages that are skipped are plain advances, shared with every other estimator.
    """
    actions: list[Advance | CoarseAdvance] = []
    state: StateRef = Recorded(boundary=first)
    for stage in range(first, len(log.stages)):
        intervention = interventions.get(stage)
        action: Advance | CoarseAdvance
        if is_whole_skip(intervention):
            action = advance(
                log_digest, stage, state, intervention=intervention, fraction=1.0, replica=0, seed=0
            )
        else:
            action = _coarse(
                log_digest,
                stage,
                state,
                intervention=intervention,
                settings=settings,
                draw=(replica, seed),
            )
        actions.append(action)
        state = Computed(key=key_of(action))
    return tuple(actions), state


def _coarse(
    log_digest: str,
    stage: int,
    state: StateRef,
    *,
    intervention: Intervention | None,
    settings: Blocks,
    draw: tuple[int, int],
) -> CoarseAdvance:
    """Return the action of one stage; what has no influence is fixed."""
    replica, seed = draw
    whole = settings.fraction == 1.0
    local = settings.curvature == "ekfac" and settings.block_steps > 1
    return CoarseAdvance(
        log=log_digest,
        stage=stage,
        start=state,
        intervention=intervention,
        block_steps=settings.block_steps,
        fraction=settings.fraction,
        curvature=SampledCurvature(examples=settings.curvature_examples, seed=seed)
        if local
        else "none",
        replica=0 if whole else replica,
        seed=0 if whole and not draws_data(intervention) else seed,
    )
