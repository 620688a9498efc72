"""Group keys: which ready actions may run as lanes of one batch."""

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
from auditor.stagelog.digest import Digest, digest_of


def group_key(spec: ActionSpec) -> Digest:
    """Return the digest that actions of one group share.

    Advances of one stage at one fraction run as lanes whatever they intervene on: interventions
    differ in data, weights and gates, which are per-lane values. A skipped stage executes no steps
    and is kept apart so that it never waits for a batch of training. Evaluations of the same
    examples share forward passes, whatever is asked. Every other action is a group of its own.
    """
    match spec:
        case Advance():
            return digest_of({
                "kind": spec.kind,
                "code": spec.code,
                "log": spec.log,
                "stage": spec.stage,
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
