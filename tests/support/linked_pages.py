"""Pages of one signed report, behind links of a known key."""

from dataclasses import dataclass
from typing import final

from auditor.attest.bundle import report_id
from auditor.attest.trust import TrustFile
from auditor.errors import ArtifactMissingError
from auditor.stagelog.digest import Digest, sha256
from service.records.base import Position, ReportRow
from service.report_links import LinkedReport, ReportLinks
from service.report_pages import ReportPages
from tests.support.fake_clock import FakeClock
from tests.support.memory_blobs import MemoryBlobs
from tests.support.reports import Signed, make_signed

LINKS = ReportLinks(b"k" * 32)
TENANT = "team-a"


@final
class OneReport:
    """ReportRecords of one tenant with one report."""

    def __init__(self, row: ReportRow) -> None:
        self._row = row

    def report(self, tenant: str, digest: Digest) -> ReportRow:
        if (tenant, digest) != (TENANT, self._row.digest):
            raise ArtifactMissingError(
                f"tenants/{tenant}/reports/{digest}",
                expected="a report",
                found="none",
                remedy="Check its name.",
            )
        return self._row

    def reports(
        self, tenant: str, *, log: Digest | None, after: Position | None, limit: int
    ) -> tuple[ReportRow, ...]:
        del log, after, limit
        return (self._row,) if tenant == TENANT else ()


@dataclass(frozen=True, kw_only=True)
class LinkedPages:
    """The pages, and what a test changes or asks about them."""

    pages: ReportPages
    signed: Signed
    blobs: MemoryBlobs
    clock: FakeClock

    def link(self, *, tenant: str = TENANT, digest: str | None = None, seconds: int = 60) -> str:
        linked = LinkedReport(tenant=tenant, digest=Digest(digest or report_id(self.signed.bundle)))
        return LINKS.write(linked, expires=int(self.clock.seconds()) + seconds)


def make_linked_pages(*, trust: TrustFile | None = None) -> LinkedPages:
    """Return pages of one report; ``trust`` is the service's own key unless said otherwise."""
    signed, blobs, clock = make_signed(), MemoryBlobs(), FakeClock()
    row = ReportRow(
        digest=report_id(signed.bundle),
        bundle_digest=blobs.write(signed.bundle),
        bundle_size_bytes=len(signed.bundle),
        audit="01ARZ3NDEKTSV4RRFFQ69G5FAV",
        log_digest=sha256(b"log"),
        keyid=signed.entry.keyid,
        created=clock.seconds(),
    )
    pages = ReportPages(
        records=OneReport(row),
        blobs=blobs,
        links=LINKS,
        trust=signed.trust if trust is None else trust,
        clock=clock,
    )
    return LinkedPages(pages=pages, signed=signed, blobs=blobs, clock=clock)
