"""Actions on twins: a counterfactual state and the factual one that it is compared with.

In normal form, as in ``auditor.plan.chains``: what has no influence is fixed, so that twins are
shared by all interventions and audits that need them.
"""

from typing import Literal

from auditor.plan.actions import (
    Advance,
    Computed,
    FlowStage,
    JumpStage,
    Recorded,
    SettleStage,
    StateRef,
    key_of,
)
from auditor.plan.chains import advance, is_whole_skip
from auditor.plan.curvature import CurvatureName, SampledCurvature, step_curvature
from auditor.plan.request import Intervention

Twins = tuple[StateRef, StateRef]
"""(counterfactual, factual) states at one boundary."""


def displaced_start(
    log_digest: str,
    stage: int,
    *,
    intervention: Intervention,
    fraction: float,
    replica: int,
    seed: int,
) -> tuple[tuple[Advance, ...], Twins]:
    """Return the actions that execute an intervention's own stage, and the twins after it.

    A skipped stage executes nothing, so its twin is the recorded checkpoint. Another stage on part
    of its examples has a twin on the same part, so that what the sampling does cancels.
    """
    displaced, twin = (
        advance(
            log_digest,
            stage,
            Recorded(boundary=stage),
            intervention=own,
            fraction=fraction,
            replica=replica,
            seed=seed,
        )
        for own in (intervention, None)
    )
    if fraction == 1.0 or is_whole_skip(intervention):
        return (displaced,), (Computed(key=key_of(displaced)), Recorded(boundary=stage + 1))
    return (displaced, twin), (Computed(key=key_of(displaced)), Computed(key=key_of(twin)))


def settle_twins(
    log_digest: str,
    stage: int,
    twins: Twins,
    *,
    tail: float,
    fraction: float,
    replica: int,
    seed: int,
) -> tuple[tuple[SettleStage, ...], Twins]:
    """Return the actions that settle twins in a stage, and the twins after it."""
    if fraction == 1.0:
        replica, seed = 0, 0
    recorded = Recorded(boundary=stage)
    displaced, twin = (
        SettleStage(
            log=log_digest,
            stage=stage,
            start=start,
            origin=origin,
            tail=tail,
            fraction=fraction,
            replica=replica,
            seed=seed,
        )
        for start, origin in (twins, (recorded, recorded))
    )
    return (displaced, twin), (Computed(key=key_of(displaced)), Computed(key=key_of(twin)))


def carry_twins(
    log_digest: str,
    stage: int,
    twins: Twins,
    *,
    curvature: CurvatureName | Literal["source"],
    curvature_examples: int,
    fraction: float,
    replica: int,
    seed: int,
) -> tuple[JumpStage | FlowStage, Twins]:
    """Return the action that carries a displacement linearly through a stage, and the twins after.

    The factual twin after it is the recorded checkpoint, to which the displacement was added.
    """
    start, origin = twins
    action: JumpStage | FlowStage
    if curvature == "source":
        action = FlowStage(
            log=log_digest,
            stage=stage,
            start=start,
            origin=origin,
            curvature=SampledCurvature(examples=curvature_examples, seed=seed),
        )
    else:
        action = JumpStage(
            log=log_digest,
            stage=stage,
            start=start,
            origin=origin,
            curvature=step_curvature(curvature, examples=curvature_examples, seed=seed),
            fraction=fraction,
            replica=0 if fraction == 1.0 else replica,
            seed=0 if fraction == 1.0 else seed,
        )
    return action, (Computed(key=key_of(action)), Recorded(boundary=stage + 1))
