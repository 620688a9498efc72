"""Trajectories as chains of actions, with everything that does not matter normalised away.

Two audits that need the same counterfactual state must name it by the same key, so a chain fixes
every field that has no influence: the replica and seed of an exact step, the estimator's settings
of a stage that is skipped.
"""

from collections.abc import Mapping
from types import MappingProxyType

from auditor.plan.actions import Advance, Computed, Recorded, StateRef, key_of
from auditor.plan.request import Intervention
from auditor.stagelog.log import StageLog


def stage_index(log: StageLog, name: str) -> int:
    """Return the position of a stage that :func:`auditor.audit.check.check_request` accepted."""
    return next(i for i, stage in enumerate(log.stages) if stage.name == name)


def is_whole_skip(intervention: Intervention | None) -> bool:
    """Say whether the intervention executes no step of its stage."""
    return intervention is not None and intervention.kind == "skip" and intervention.steps is None


def draws_data(intervention: Intervention | None) -> bool:
    """Say whether the intervention draws examples by the audit's seed."""
    if intervention is None:
        return False
    if intervention.kind == "replace":
        return intervention.reference is not None and intervention.reference.order == "shuffled"
    return intervention.kind == "drop" and intervention.divisor != "kept"


def advance(
    log_digest: str,
    stage: int,
    start: StateRef,
    *,
    intervention: Intervention | None,
    fraction: float,
    replica: int,
    seed: int,
    order: int = 0,
) -> Advance:
    """Return the action for one stage in normal form."""
    if is_whole_skip(intervention):
        fraction, replica, seed, order = 1.0, 0, 0, 0
    elif fraction == 1.0:
        replica, seed = 0, seed if order or draws_data(intervention) else 0
    return Advance(
        log=log_digest,
        stage=stage,
        start=start,
        intervention=intervention,
        fraction=fraction,
        replica=replica,
        seed=seed,
        order=order,
    )


def chain_from(
    log: StageLog,
    log_digest: str,
    first: int,
    *,
    interventions: Mapping[int, Intervention],
    fraction: float,
    replica: int,
    seed: int,
    orders: Mapping[int, int] = MappingProxyType({}),
) -> tuple[Advance, ...]:
    """Return the actions that carry boundary ``first`` to the end of the last stage.

    ``interventions`` act on the stages that they are given for; the other stages run as recorded,
    each step on ``fraction`` of its examples. ``orders`` gives stages another order of examples.
    """
    actions: list[Advance] = []
    state: StateRef = Recorded(boundary=first)
    for stage in range(first, len(log.stages)):
        action = advance(
            log_digest,
            stage,
            state,
            intervention=interventions.get(stage),
            fraction=fraction,
            replica=replica,
            seed=seed,
            order=orders.get(stage, 0),
        )
        actions.append(action)
        state = Computed(key=key_of(action))
    return tuple(actions)


def end_of(chain: tuple[Advance, ...], log: StageLog) -> StateRef:
    """Return the state a chain ends in; an empty chain is the recorded final state."""
    return Computed(key=key_of(chain[-1])) if chain else Recorded(boundary=len(log.stages))


def boundary_as_final(
    log: StageLog, log_digest: str, boundary: int
) -> tuple[tuple[Advance, ...], StateRef]:
    """Return a recorded boundary in the shape of the final model.

    Later transitions are applied, so that parameters added later have their recorded initial
    values; without such transitions this is the checkpoint itself and needs no action.
    """
    later = range(boundary, len(log.stages))
    if not any(t.appearing or t.vanishing for t in (log.stages[i].transition for i in later)):
        return (), Recorded(boundary=boundary)
    actions: list[Advance] = []
    state: StateRef = Recorded(boundary=boundary)
    for stage in later:
        skip = Intervention(kind="skip", stage=log.stages[stage].name)
        action = advance(
            log_digest, stage, state, intervention=skip, fraction=1.0, replica=0, seed=0
        )
        actions.append(action)
        state = Computed(key=key_of(action))
    return tuple(actions), state
