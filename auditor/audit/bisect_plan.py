"""The runs of a bisection: B with one part of A, and B with a stage's batches drawn anew."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from auditor.audit.bisect_compare import Difference, batches_of
from auditor.audit.bisect_finding import Part
from auditor.effects import Probe, Query
from auditor.errors import UnsupportedError
from auditor.estimators.base import Question
from auditor.plan.actions import ActionSpec, Advance, Computed, Evaluate, Recorded, StateRef, key_of
from auditor.plan.chains import advance, chain_from, end_of
from auditor.plan.request import Intervention
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.digest import Digest
from auditor.stagelog.log import StageLog

HALF = 0.5
"""Part of each batch that a draw of kind ``sample`` uses.

Half of a batch without replacement varies as a whole batch of fresh examples does:
(1/b - 1/B) S^2 = S^2 / B at b = B/2 (half-sampling). The halves are drawn uniformly: balanced ones
vary less than fresh examples do.
"""

DrawKind = Literal["order", "sample"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Trajectory:
    """A counterfactual run: the log that describes it, its actions, and where it ends."""

    log: StageLog
    digest: Digest
    chain: tuple[Advance, ...]

    def evaluations(self, query: Query | Probe) -> tuple[Evaluate, ...]:
        """Return the actions that evaluate a query, or both sides of a probe, at its end."""
        return evaluations(self.log, self.digest, end_of(self.chain, self.log), query=query)

    def actions(self, query: Query | Probe) -> Iterator[ActionSpec]:
        """Yield the actions and their evaluation, dependencies first."""
        yield from self.chain
        yield from self.evaluations(query)


def evaluations(
    log: StageLog, digest: Digest, state: StateRef, *, query: Query | Probe
) -> tuple[Evaluate, ...]:
    """Return the actions that evaluate a query at a state; treated and control for a probe."""
    sides = (
        (query.of, query.of.model_copy(update={"data": query.control}))
        if isinstance(query, Probe)
        else (query,)
    )
    nothing = Intervention(kind="fade", stage=log.stages[-1].name, alpha=1.0)
    return tuple(
        Question(log=log, log_digest=digest, intervention=nothing, query=side, seed=0).evaluate(
            state
        )
        for side in sides
    )


def recorded_end(log: StageLog, digest: Digest) -> Trajectory:
    """Return a log's own run, which needs no action."""
    return Trajectory(log=log, digest=digest, chain=())


def candidate(log: StageLog, digest: Digest, difference: Difference) -> Trajectory:
    """Return the exact run of a derived log, from the boundary before what was changed."""
    first = 0 if difference.part is Part.INITIAL else difference.stage
    chain = chain_from(log, digest, first, interventions={}, fraction=1.0, replica=0, seed=0)
    return Trajectory(log=log, digest=digest, chain=chain)


def draw_kind(difference: Difference) -> DrawKind | None:
    """Return what has to be drawn anew to know a difference's noise; None: nothing can be."""
    if difference.part is Part.INITIAL:
        return None
    return "sample" if difference.resampled else "order"


def redrawn(
    log: StageLog, digest: Digest, stage: int, *, kind: DrawKind, number: int, seed: int
) -> Trajectory:
    """Return B's run with one stage's batches drawn anew, the later stages as recorded.

    Args:
        log: Release B.
        digest: Its digest.
        stage: The stage, from 0.
        kind: ``order`` permutes the stage's examples, ``sample`` uses half of each batch.
        number: Which draw, from 1.
        seed: Of all draws.

    Raises:
        UnsupportedError: If a batch of one example cannot be halved.
    """
    examples = log.stages[stage].examples_per_step
    if kind == "sample" and (examples is None or examples < 2):
        raise UnsupportedError(
            f"stages[{stage}].examples_per_step",
            expected="at least 2 examples a step, to know what other examples would have done",
            found=examples,
            remedy="Compare releases that were trained with larger batches.",
        )
    actions: list[Advance] = []
    state: StateRef = Recorded(boundary=stage)
    for index in range(stage, len(log.stages)):
        own = index == stage
        action = advance(
            digest,
            index,
            state,
            intervention=None,
            fraction=HALF if own and kind == "sample" else 1.0,
            replica=number if own and kind == "sample" else 0,
            seed=seed,
            order=number if own and kind == "order" else 0,
        )
        if own and kind == "sample":
            action = action.model_copy(update={"draw": "uniform"})
        actions.append(action)
        state = Computed(key=key_of(action))
    return Trajectory(log=log, digest=digest, chain=tuple(actions))


def inflation(log: StageLog, stage: int, *, kind: DrawKind, blobs: BlobStore) -> float:
    r"""Return the factor on the variance of draws for examples that are used more than once.

    Half-sampling draws every use of an example anew, but other examples would change all uses of
    one at once: :math:`\sum_i c_i^2 / \sum_i c_i` with c_i the uses of example i, E for E epochs.
    """
    if kind == "order":
        return 1.0
    counts = _uses(log, stage, blobs=blobs)
    return float(sum((c**2).sum() for c in counts.values()) / sum(c.sum() for c in counts.values()))


def _uses(log: StageLog, stage: int, *, blobs: BlobStore) -> Mapping[str, np.ndarray]:
    entry = log.stages[stage]
    batches = batches_of(entry, blobs, where=f"stages[{stage}]")
    used: dict[str, list[np.ndarray]] = {}
    for step in range(entry.first_step, entry.end_step):
        for row in batches.rows(step):
            used.setdefault(row.dataset, []).append(row.indices)
    return {
        name: np.unique(np.concatenate(rows), return_counts=True)[1].astype(np.float64)
        for name, rows in used.items()
    }
