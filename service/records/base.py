"""What the service needs from its database: rows as values, questions as protocols.

Rows of another tenant do not exist for the asker. Times are seconds since 1970 in UTC. Lists are
ordered newest first, by ``(created, digest)``, and continue after a :class:`Position`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from auditor.stagelog.digest import Digest

DEFAULT_TENANT = "default"

LogState = Literal["unchecked", "consistent", "unusable"]
"""What the checks of a log said: the newest that failed or replayed everything decides."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """The last row of a page; the next page holds what comes after it."""

    created: float
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestKey:
    """A caller's request id and the digest of what was asked under it; kept for 24 h."""

    id: str
    digest: Digest


@dataclass(frozen=True, kw_only=True, slots=True)
class StageLogRow:
    """A registered stage log."""

    digest: Digest
    run: str
    stages: tuple[str, ...]
    steps: int
    level: int
    size_bytes: int  # the manifest and every blob it names
    created: float
    state: LogState = "unchecked"
    causes: tuple[str, ...] = ()  # why it is unusable


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelRow:
    """A registered model artifact."""

    digest: Digest
    format: Literal["safetensors", "onnx"]
    tensors: int
    elements: int
    size_bytes: int
    created: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportRow:
    """A signed report."""

    digest: Digest  # of the signed payload
    bundle_digest: Digest
    bundle_size_bytes: int
    audit: str
    log_digest: Digest
    keyid: str
    created: float


class BlobRecords(Protocol):
    """Which tenant holds which blobs."""

    def held_blobs(self, tenant: str, digests: Sequence[Digest]) -> Mapping[Digest, int]:
        """Return the length of each of these blobs that the tenant holds.

        Also notes that they are wanted, which keeps them from being collected.
        """

    def add_blobs(self, tenant: str, sizes: Mapping[Digest, int]) -> None:
        """Note that the tenant has sent these blobs; twice is harmless."""


class StageLogRecords(Protocol):
    """The stage logs of a tenant."""

    def add_stage_log(
        self, tenant: str, row: StageLogRow, *, request: RequestKey | None
    ) -> StageLogRow:
        """Store the log unless it is stored, and return what is stored.

        Raises:
            RequestIdReusedError: If the request id was used with another digest.
        """

    def stage_log(self, tenant: str, digest: Digest) -> StageLogRow:
        """Return one log.

        Raises:
            ArtifactMissingError: If the tenant has no such log.
        """

    def stage_logs(
        self, tenant: str, *, after: Position | None, limit: int
    ) -> tuple[StageLogRow, ...]:
        """Return at most ``limit`` logs."""

    def delete_stage_log(self, tenant: str, digest: Digest) -> None:
        """Remove one log from the list.

        Raises:
            ArtifactMissingError: If the tenant has no such log.
        """


class ModelRecords(Protocol):
    """The model artifacts of a tenant."""

    def add_model(self, tenant: str, row: ModelRow, *, request: RequestKey | None) -> ModelRow:
        """Store the model unless it is stored, and return what is stored.

        Raises:
            RequestIdReusedError: If the request id was used with another digest.
        """

    def model(self, tenant: str, digest: Digest) -> ModelRow:
        """Return one model.

        Raises:
            ArtifactMissingError: If the tenant has no such model.
        """

    def models(self, tenant: str, *, after: Position | None, limit: int) -> tuple[ModelRow, ...]:
        """Return at most ``limit`` models."""

    def delete_model(self, tenant: str, digest: Digest) -> None:
        """Remove one model from the list.

        Raises:
            ArtifactMissingError: If the tenant has no such model.
        """


class ReportRecords(Protocol):
    """The reports of a tenant, which the scheduler writes."""

    def report(self, tenant: str, digest: Digest) -> ReportRow:
        """Return one report.

        Raises:
            ArtifactMissingError: If the tenant has no such report.
        """

    def reports(
        self, tenant: str, *, log: Digest | None, after: Position | None, limit: int
    ) -> tuple[ReportRow, ...]:
        """Return at most ``limit`` reports, of all logs or of one."""


class CatalogueRecords(BlobRecords, StageLogRecords, ModelRecords, ReportRecords, Protocol):
    """Everything the servicers of blobs, logs, models and reports ask; thread-safe."""
