"""``stageaudit audit --local --plan``: what a local audit would compute, and what it could show."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditor.checks import needs_extra
from auditor.edge.layered import LayeredBlobs
from auditor.edge.result_index import FolderIndex
from auditor.plan.actions import ActionKey, key_of
from auditor.plan.footprint import footprint, require_fits
from auditor.plan.groups import GroupKeys
from auditor.plan.request import AuditRequest
from auditor.plan.room import DEFAULT_MAX_LANES
from auditor.stagelog.digest import Digest, digest_of
from auditor.stagelog.evaluation import parse_evaluation_set

if TYPE_CHECKING:
    from service.records.jobs import NewAction


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
        from service.planning import new_action
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
    rows = [
        {
            "kind": spec.kind,
            "cached": key_of(spec) in results,
            "gradient_examples": gradient_examples([spec], log),
            "predicted_bytes": needed[key_of(spec)].alone,
        }
        for spec in planned
    ]
    waiting = [row for row in rows if not row["cached"]]
    group_key = GroupKeys(lambda _: log)
    to_run = [
        new_action(spec, needed[key_of(spec)], group_key=group_key(spec))
        for spec in planned
        if key_of(spec) not in results
    ]
    if budget is not None:
        for action in to_run:
            require_fits(needed[action.key], kind=action.kind, budget=budget)
    plan: dict[str, Any] = {
        "request_digest": digest_of(request),
        "actions": rows,
        "actions_to_run": len(waiting),
        "gradient_examples": sum(int(row["gradient_examples"]) for row in waiting),
        "memory": _memory(to_run, budget=budget),
        "queries": [
            {"query": one.query, "unit": one.unit, "basis": one.basis, "note": one.note}
            | ({} if one.detectable is None else {"detectable_effect": one.detectable})
            for one in found.queries
        ],
    }
    return plan if found.relative is None else {**plan, "retraining_relative": found.relative}


def _memory(actions: Sequence["NewAction"], *, budget: int | None) -> dict[str, int]:
    """Return what the largest action and the largest group should need, as they would run here."""
    from service.capacity import forecast_memory
    from service.scheduler.memory import MemoryModel

    memory = MemoryModel()
    memory.add_worker("this process", budget)
    found = asdict(forecast_memory(actions, memory=memory, max_lanes=DEFAULT_MAX_LANES))
    return {name: size for name, size in found.items() if size is not None}
