"""A page of audits, which AuditService and Operations list in their own words."""

from collections.abc import Sequence

from auditor.stagelog.digest import Digest
from service.operations import AuditOperations
from service.paging import PageTokens, cut_page, page_size
from service.records.base import Position
from service.records.jobs import AuditRow, JobKind
from service.threads import Threads


async def audit_page(
    operations: AuditOperations,
    *,
    threads: Threads,
    tokens: PageTokens,
    asked: tuple[int, str],
    tenant: str,
    of: tuple[Digest | None, JobKind | None],
    collection: str,
) -> tuple[Sequence[AuditRow], str]:
    """Return a page of a tenant's audits, newest first, and the token of the next, or "".

    Args:
        operations: All audits.
        threads: Where the database is read.
        tokens: Seals and opens page tokens.
        asked: The request's page size and page token.
        tenant: Whose audits.
        of: Only audits of this log, and only this kind; None for all.
        collection: The list's own name, which its tokens are bound to.

    Raises:
        InputError: If the size is negative or the token is of another list.
    """
    size = page_size(asked[0])
    log, kind = of
    scope = (collection, tenant, log or "")
    after = tokens.read(asked[1], scope=scope)
    rows = await threads.run(
        operations.page,
        tenant,
        limit=size + 1,
        before=None if after is None else after.digest,
        log=log,
        kind=kind,
    )
    page, more = cut_page(rows, size=size)
    if not more:
        return page, ""
    last = Position(created=page[-1].created, digest=page[-1].id)
    return page, tokens.write(last, scope=scope)
