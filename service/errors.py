"""Errors that only the service raises, below the tree of :mod:`auditor.errors`.

The tree::

    AuditorError
    ├── InputError
    │   └── OffsetError             an upload has a gap
    ├── PreconditionError
    │   └── MissingBlobsError       blobs were not sent yet
    ├── ConflictError
    │   └── RequestIdReusedError    one request id, two requests
    ├── ResourceError
    │   ├── DeadlineError           the call's time is over
    │   ├── QueueFullError          too much work waits
    │   └── TenantQueueFullError    too much of it is the tenant's own
    └── LeaseLostError              another worker has the action now
"""

from collections.abc import Sequence

from auditor.errors import (
    AuditorError,
    ConflictError,
    InputError,
    PreconditionError,
    ResourceError,
)
from auditor.stagelog.digest import Digest


class OffsetError(InputError):
    """A part of an upload starts after what is held.

    Args:
        where: The upload's resource name.
        committed_size: Bytes held, where the client has to go on.
        offset: Where the part starts.
    """

    code = "OFFSET_BEYOND_COMMITTED"

    def __init__(self, where: str, *, committed_size: int, offset: int) -> None:
        super().__init__(
            where,
            expected=f"write_offset <= {committed_size}",
            found=offset,
            remedy="Ask QueryWriteStatus and send the blob from there.",
        )
        self.committed_size = committed_size


class MissingBlobsError(PreconditionError):
    """Something names blobs that the tenant has not sent.

    Args:
        where: What names them.
        digests: All that are missing.
    """

    code = "BLOBS_MISSING"

    def __init__(self, where: str, *, digests: Sequence[Digest]) -> None:
        first = ", ".join(digest[:12] for digest in digests[:3])
        super().__init__(
            where,
            expected="every blob it names to be sent before",
            found=f"{len(digests)} missing: {first}",
            remedy="Send them with BlobService.WriteBlob or `stageaudit push`, then ask again.",
        )
        self.digests = tuple(digests)


class RequestIdReusedError(ConflictError):
    """The request id was used for another request.

    Args:
        request_id: The id.
    """

    code = "REQUEST_ID_REUSED"

    def __init__(self, request_id: str) -> None:
        super().__init__(
            "request_id",
            expected="one id for one request",
            found=request_id,
            remedy="Choose a new UUID4 for every new request; repeat it only in a retry.",
        )


class DeadlineError(ResourceError):
    """The call did not finish in the time it had.

    Args:
        where: The call.
        seconds: The time it had.
    """

    code = "DEADLINE_EXCEEDED"

    def __init__(self, where: str, *, seconds: float) -> None:
        super().__init__(
            where,
            expected=f"an answer within {seconds:g} s",
            found="none",
            remedy="Set a longer deadline for this call, or try when the service is less busy.",
        )


class QueueFullError(ResourceError):
    """Too much work waits for the devices; a later call may be admitted."""

    code = "QUEUE_FULL"


class TenantQueueFullError(ResourceError):
    """Too much of the work that waits is the tenant's own."""

    code = "TENANT_QUEUE_FULL"


class LeaseLostError(AuditorError):
    """Another worker has the action now; whatever was computed is dropped.

    Args:
        where: The action.
    """

    code = "LEASE_LOST"

    def __init__(self, where: str) -> None:
        super().__init__(
            where,
            expected="the lease under which the work began",
            found="a newer fence or none",
            remedy="Drop the work; the scheduler has given the action to somebody else.",
        )
