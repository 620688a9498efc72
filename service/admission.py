"""Is everything there that a request speaks of? Asked before an audit is stored."""

from collections.abc import Sequence
from typing import final

from auditor.audit.planning import data_of
from auditor.effects import Probe, QueryKind
from auditor.errors import PreconditionError, UnsupportedError
from auditor.plan.asked import metrics_of
from auditor.plan.request import AuditRequest
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.digest import Digest, canonical_bytes
from service.capacity import Capacity
from service.errors import MissingBlobsError
from service.evaluation_sets import EvaluationSets
from service.planning import AuditPlanner
from service.records.base import CatalogueRecords, StageLogRow

CAUSES_CHARACTERS = 1000
"""How much of a log's causes a refusal repeats: it has to fit the wire's limit."""


@final
class Admission:
    """Checks requests against what a tenant has sent.

    Args:
        catalogue: What the tenant has sent and registered.
        blobs: Where accepted requests are kept.
        planner: Checks the request itself.
        evaluation_sets: Opens evaluation sets, which come from strangers.
        capacity: Knows what fits the devices.
    """

    def __init__(
        self,
        catalogue: CatalogueRecords,
        blobs: BlobStore,
        *,
        planner: AuditPlanner,
        evaluation_sets: EvaluationSets,
        capacity: Capacity,
    ) -> None:
        self._catalogue = catalogue
        self._blobs = blobs
        self._planner = planner
        self._evaluation_sets = evaluation_sets
        self.capacity = capacity

    def check(self, tenant: str, request: AuditRequest) -> None:
        """Refuse a request that names what is not there, or that cannot be answered.

        Raises:
            ArtifactMissingError: If the log or the model is not registered.
            PreconditionError: If a check found that the log contradicts itself.
            MissingBlobsError: If evaluation data or a metric's graph was not sent.
            UnsupportedError: If it asks for values of an outside tool.
            AuditorError: If the request cannot be answered; see
                :func:`auditor.audit.check.check_request`.
        """
        refuse_tools(request)
        refuse_unusable(self._catalogue.stage_log(tenant, Digest(request.log)))
        if request.model is not None:
            self._catalogue.model(tenant, Digest(request.model))
        manifests = [Digest(digest) for digest in data_of(request)]
        sizes = self._require_held(tenant, manifests)
        shards = {
            manifest: self._evaluation_sets.blobs_named_by(manifest, sizes[manifest])
            for manifest in manifests
        }
        sizes |= self._require_held(tenant, [blob for named in shards.values() for blob in named])
        for manifest, named in shards.items():
            mapped = sizes[manifest] + sum(sizes[blob] for blob in named)
            self._evaluation_sets.check_content(manifest, mapped)
        metrics = [Digest(digest) for digest in metrics_of(request)]
        for metric, size in self._require_held(tenant, metrics).items():
            self._evaluation_sets.check_metric(metric, size)
        self._planner.check(request)

    def keep(self, tenant: str, request: AuditRequest) -> Digest:
        """Store the canonical bytes of an accepted request and return their digest."""
        data = canonical_bytes(request)
        digest = self._blobs.write(data)
        self._catalogue.add_blobs(tenant, {digest: len(data)})
        return digest

    def _require_held(self, tenant: str, digests: Sequence[Digest]) -> dict[Digest, int]:
        held = dict(self._catalogue.held_blobs(tenant, digests))
        missing = [digest for digest in dict.fromkeys(digests) if digest not in held]
        if missing:
            raise MissingBlobsError("evaluation data", digests=missing)
        return held


def refuse_unusable(log: StageLogRow) -> None:
    """Refuse a log that a check found to contradict itself.

    Raises:
        PreconditionError: With what the check found.
    """
    if log.state == "unusable":
        raise PreconditionError(
            f"stage log {log.digest}",
            expected="a log whose recorded steps lead to its checkpoints",
            found="a check that failed",
            remedy=f"It said: {'; '.join(log.causes)[:CAUSES_CHARACTERS]}. Record the training "
            "again, or repeat the check with `stageaudit log check --server`.",
        )


def refuse_tools(request: AuditRequest) -> None:
    """Refuse values of an outside tool: a service runs no command that a request names.

    Raises:
        UnsupportedError: If a query is of kind ``outside``.
    """
    for index, query in enumerate(request.queries):
        kind = (query.of if isinstance(query, Probe) else query).kind
        if kind is QueryKind.OUTSIDE:
            raise UnsupportedError(
                f"queries[{index}].kind",
                expected="a kind that the service computes itself; it runs no commands of requests",
                found=kind.value,
                remedy="Run `stageaudit audit REQUEST.yaml --local LOGDIR --outside NAME=COMMAND`.",
            )
