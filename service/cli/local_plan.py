"""``stageaudit audit --local --plan``: what a local audit would compute, and what it could show."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from auditor.checks import needs_extra
from auditor.edge.layered import LayeredBlobs
from auditor.edge.result_index import FolderIndex
from auditor.plan.actions import ActionKey, ActionSpec, key_of
from auditor.plan.footprint import Footprint, footprint, require_fits
from auditor.plan.groups import GroupKeys
from auditor.plan.request import AuditRequest
from auditor.stagelog.digest import Digest, digest_of
from auditor.stagelog.evaluation import parse_evaluation_set

MAX_LANES = 64
"""Most lanes of a local group; as in auditor.audit.local."""


def local_plan(
    request: AuditRequest, *, blobs: LayeredBlobs, cache: Path, budget: int | None
) -> dict[str, Any]:
    """Return what a service would answer to the same question; nothing is computed.

    Args:
        request: What is asked, of digests only.
        blobs: Holds the data and earlier results.
        cache: Folder that remembers finished actions across audits.
        budget: Bytes that a group may use here; None if that is not known.

    Raises:
        ResourceError: If an action alone should need more memory than there is.
        AuditorError: If the request is not answerable.
    """
    with needs_extra("server", purpose="A local audit"):
        from auditor.audit.cost import gradient_examples
        from auditor.audit.forecast import forecast
        from auditor.audit.local import activations_of, prepare
        from auditor.audit.planning import data_of, plan_round
    log = prepare(request, blobs)
    index = FolderIndex(cache / "results")
    results: dict[ActionKey, Digest] = {}
    planned = plan_round(request, log, results, blobs=blobs).actions
    for spec in planned:
        stored = index.get(key_of(spec))
        if stored is not None and blobs.has(stored):
            results[key_of(spec)] = stored
    sets = {digest: parse_evaluation_set(blobs.read(Digest(digest))) for digest in data_of(request)}
    found = forecast(request, log, evaluation_sets=sets, blobs=blobs, results=results)
    activations = activations_of(log, blobs)
    needed = {key_of(s): footprint(s, log, activations=activations) for s in planned}
    actions = [
        {
            "kind": spec.kind,
            "cached": key_of(spec) in results,
            "gradient_examples": gradient_examples([spec], log),
            "predicted_bytes": needed[key_of(spec)].alone,
        }
        for spec in planned
    ]
    waiting = [action for action in actions if not action["cached"]]
    to_run = [spec for spec in planned if key_of(spec) not in results]
    plan: dict[str, Any] = {
        "request_digest": digest_of(request),
        "actions": actions,
        "actions_to_run": len(waiting),
        "gradient_examples": sum(int(action["gradient_examples"]) for action in waiting),
        "memory": _memory(
            [(spec, needed[key_of(spec)]) for spec in to_run],
            group_key=GroupKeys(lambda _: log),
            budget=budget,
        ),
        "queries": [
            {"query": one.query, "unit": one.unit, "basis": one.basis, "note": one.note}
            | ({} if one.detectable is None else {"detectable_effect": one.detectable})
            for one in found.queries
        ],
    }
    return plan if found.relative is None else {**plan, "retraining_relative": found.relative}


def _memory(
    actions: Sequence[tuple[ActionSpec, Footprint]], *, group_key: GroupKeys, budget: int | None
) -> dict[str, int]:
    """Return what the largest action and the largest group should need.

    Raises:
        ResourceError: If an action alone should need more than there is.
    """
    groups: dict[str, list[Footprint]] = {}
    for spec, needed in actions:
        if budget is not None:
            require_fits(needed, kind=spec.kind, budget=budget)
        groups.setdefault(group_key(spec), []).append(needed)
    size, lanes = max(
        (
            (max(own.fixed for own in members) + lanes * max(own.lane for own in members), lanes)
            for members in groups.values()
            for lanes in (min(len(members), MAX_LANES),)
        ),
        default=(0, 0),
    )
    found = {
        "lane_bytes": max((needed.alone for _, needed in actions), default=0),
        "group_bytes": size,
        "group_lanes": lanes,
    }
    return found if budget is None else {**found, "budget_bytes": budget}
