"""``stageaudit audit --local --plan``: what a local audit would compute, and what it could show."""

from pathlib import Path
from typing import Any

from auditor.checks import needs_extra
from auditor.edge.layered import LayeredBlobs
from auditor.edge.result_index import FolderIndex
from auditor.plan.actions import ActionKey, key_of
from auditor.plan.request import AuditRequest
from auditor.stagelog.digest import Digest, digest_of
from auditor.stagelog.evaluation import parse_evaluation_set


def local_plan(request: AuditRequest, *, blobs: LayeredBlobs, cache: Path) -> dict[str, Any]:
    """Return what a service would answer to the same question; nothing is computed.

    Args:
        request: What is asked, of digests only.
        blobs: Holds the data and earlier results.
        cache: Folder that remembers finished actions across audits.

    Raises:
        AuditorError: If the request is not answerable.
    """
    with needs_extra("server", purpose="A local audit"):
        from auditor.audit.cost import gradient_examples
        from auditor.audit.forecast import forecast
        from auditor.audit.local import prepare
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
    actions = [
        {
            "kind": spec.kind,
            "cached": key_of(spec) in results,
            "gradient_examples": gradient_examples([spec], log),
        }
        for spec in planned
    ]
    waiting = [action for action in actions if not action["cached"]]
    plan: dict[str, Any] = {
        "request_digest": digest_of(request),
        "actions": actions,
        "actions_to_run": len(waiting),
        "gradient_examples": sum(int(action["gradient_examples"]) for action in waiting),
        "queries": [
            {"query": one.query, "unit": one.unit, "basis": one.basis, "note": one.note}
            | ({} if one.detectable is None else {"detectable_effect": one.detectable})
            for one in found.queries
        ],
    }
    return plan if found.relative is None else {**plan, "retraining_relative": found.relative}
