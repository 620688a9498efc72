"""Request ids: a retried Create finds what the first one made; kept for a day."""

from sqlalchemy import Connection, delete, insert, select

from service.errors import RequestIdReusedError
from service.records.base import RequestKey
from service.records.tables import request_id, tenant

KEPT_SECONDS = 24 * 3600.0


def stored_answer(
    connection: Connection, tenant_id: str, request: RequestKey | None, *, now: float
) -> str | None:
    """Return the id of what was created under this request id, or None.

    Raises:
        RequestIdReusedError: If the id was used for another request.
    """
    if request is None:
        return None
    query = select(request_id.c.request_digest, request_id.c.answer).where(
        request_id.c.tenant == tenant_id,
        request_id.c.id == request.id,
        request_id.c.created >= now - KEPT_SECONDS,
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    if row.request_digest != request.digest:
        raise RequestIdReusedError(request.id)
    return str(row.answer)


def store_answer(
    connection: Connection,
    tenant_id: str,
    request: RequestKey | None,
    *,
    answer: str,
    now: float,
) -> None:
    """Remember what was created under this request id, and forget what is too old."""
    if request is not None:
        connection.execute(delete(request_id).where(request_id.c.created < now - KEPT_SECONDS))
        connection.execute(
            insert(request_id).values(
                tenant=tenant_id,
                id=request.id,
                request_digest=request.digest,
                answer=answer,
                created=now,
            )
        )


def ensure_tenant(connection: Connection, tenant_id: str, *, now: float) -> None:
    """Make sure that rows may refer to the tenant."""
    known = connection.execute(select(tenant.c.id).where(tenant.c.id == tenant_id)).one_or_none()
    if known is None:
        connection.execute(insert(tenant).values(id=tenant_id, weight=1.0, created=now))
