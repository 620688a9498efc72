"""The page of a report behind a signed link."""

from collections.abc import Mapping
from typing import Final, final

from auditor.attest.trust import TrustFile
from auditor.edge.clock import Clock
from auditor.page.facts import read_for_page
from auditor.page.render import page_policy, render_page
from auditor.stagelog.blobs import BlobStore
from service.records.base import ReportRecords
from service.report_links import ReportLinks

PAGE_HEADERS: Final[Mapping[str, str]] = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # the address is what gives access
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@final
class ReportPages:
    """Renders what links lead to; thread-safe.

    Args:
        records: Rows of reports.
        blobs: Where their bundles are.
        links: Reads the links.
        trust: The service's own keys: it vouches for what it has signed, and for nothing else.
        clock: Whether a link is over, and when the page is made.
    """

    def __init__(
        self,
        *,
        records: ReportRecords,
        blobs: BlobStore,
        links: ReportLinks,
        trust: TrustFile,
        clock: Clock,
    ) -> None:
        self._records = records
        self._blobs = blobs
        self._links = links
        self._trust = trust
        self._clock = clock

    @property
    def headers(self) -> Mapping[str, str]:
        """What is sent with a page beside its type."""
        return {**PAGE_HEADERS, "Content-Security-Policy": page_policy()}

    def page(self, target: str) -> bytes:
        """Return the page of a request's target.

        Raises:
            AuthenticationError: If the link does not hold.
            ArtifactError: If the report or its bundle is gone.
            VerificationError: If the bundle is not what this service has signed.
        """
        now = self._clock.now()
        linked = self._links.read(target, now=now.timestamp())
        row = self._records.report(linked.tenant, linked.digest)
        bundle = bytes(self._blobs.read(row.bundle_digest))
        report, facts = read_for_page(bundle, self._trust, now=now)
        return render_page(report, facts).encode()
