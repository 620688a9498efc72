"""Group keys: which ready actions may run as lanes of one batch."""

from collections.abc import Callable
from functools import lru_cache
from typing import final

from auditor.effects import Query, QueryKind
from auditor.plan.actions import (
    ActionSpec,
    Advance,
    CoarseAdvance,
    Evaluate,
    FlowStage,
    JumpStage,
    SettleStage,
    key_of,
)
from auditor.plan.chains import is_whole_skip
from auditor.plan.geometry import stage_digest
from auditor.stagelog.digest import Digest, digest_of
from auditor.stagelog.log import StageLog

REMEMBERED_STAGES = 4096
"""Stages whose digest is remembered: a thousand actions of one stage digest its parameters once."""


@final
class GroupKeys:
    """Group keys of actions, with what they depend on of each log's stages remembered.

    Args:
        log_of: Returns a log by its digest.
    """

    def __init__(self, log_of: Callable[[str], StageLog]) -> None:
        def digest(log: str, stage: int) -> Digest:
            return stage_digest(log_of(log), stage)

        self._stage_digest = lru_cache(maxsize=REMEMBERED_STAGES)(digest)

    def __call__(self, spec: ActionSpec) -> Digest:
        """Return the group key of an action."""
        return group_key(spec, stage_digest=self._stage_digest)


def group_key(spec: ActionSpec, *, stage_digest: Callable[[str, int], Digest]) -> Digest:
    """Return the digest that actions of one group share.

    Advances through stages whose steps are alike, of whichever log, run as lanes at one fraction
    whatever they intervene on: parameters, data, weights, gates and hyperparameters are per-lane
    values. A skipped stage executes no steps and is kept apart so that it never waits for a batch
    of training. Evaluations of the same examples share forward passes, whatever is asked. Every
    other action is a group of its own.

    Args:
        spec: The action.
        stage_digest: (digest of a log, stage) -> :func:`auditor.plan.geometry.stage_digest`.
    """
    match spec:
        case Advance():
            return digest_of({
                "kind": spec.kind,
                "code": spec.code,
                "stage": stage_digest(spec.log, spec.stage),
                "fraction": spec.fraction,
                "executes_steps": not is_whole_skip(spec.intervention),
            })
        case JumpStage():  # all displacements go along one sampling of the steps
            return digest_of(
                spec.model_dump(mode="json", by_alias=True, exclude={"start", "origin"})
            )
        case CoarseAdvance() | SettleStage() | FlowStage():
            lanes = {"start", "origin", "intervention", "replica", "seed"}
            return digest_of(spec.model_dump(mode="json", by_alias=True, exclude=lanes))
        case Evaluate(query=Query(kind=QueryKind.OUTSIDE)):
            return Digest(key_of(spec))
        case Evaluate():
            return digest_of({
                "kind": spec.kind,
                "code": spec.code,
                "log": spec.log,
                "selection": digest_of(spec.query.selection),
            })
        case _:
            return Digest(key_of(spec))
