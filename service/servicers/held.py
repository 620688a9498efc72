"""What a request names must have been sent by its tenant."""

from collections.abc import Mapping, Sequence

from auditor.stagelog.digest import Digest
from service.errors import MissingBlobsError
from service.records.base import BlobRecords


def require_held(
    records: BlobRecords, tenant: str, digests: Sequence[Digest], *, where: str
) -> Mapping[Digest, int]:
    """Return the sizes of blobs that the tenant holds.

    Args:
        records: Which tenant holds what.
        tenant: Whose blobs.
        digests: Which blobs.
        where: What names them.

    Returns:
        The length of each, in bytes.

    Raises:
        MissingBlobsError: If some were not sent; names all of them.
    """
    held = records.held_blobs(tenant, digests)
    missing = [digest for digest in digests if digest not in held]
    if missing:
        raise MissingBlobsError(where, digests=missing)
    return held
