"""Time-stamp tokens for the reports that a service signs.

A report waits until the time-out for an answer, or twice as long if its last piece is late; while
an authority that failed is left alone it does not wait. What is not bounded as a whole is the head
of an answer, of which each read has the time-out.

Whatever goes wrong, the report is issued without a token: anybody can have it stamped later.
"""

from typing import Protocol, final

import structlog
from typing_extensions import override

from auditor.attest.bundle import attach_token, parse_bundle
from auditor.attest.timestamp import granted_response, prove_time, timestamp_query
from auditor.attest.trust import TimestampAuthority, trust_authority
from auditor.edge.clock import Clock
from auditor.errors import AuditorError
from service.keys import read_authority
from service.metrics import Metrics
from service.timestamp_config import TimestampConfig
from service.timestamping import ask_authority, checked_url

_log = structlog.get_logger()


class Stamper(Protocol):
    """Adds a proof of time to what was signed, if it can."""

    def stamp(self, bundle: bytes) -> bytes:
        """Return the bundle, with a token of an authority if there is one; never fails."""


@final
class NoStamper(Stamper):
    """No authority is configured."""

    @override
    def stamp(self, bundle: bytes) -> bytes:
        return bundle


@final
class AuthorityStamper(Stamper):
    """Asks one authority, and leaves it alone for a while after it failed.

    Args:
        config: Where and how to ask.
        authority: Whose tokens are attached.
        clock: Says how long an answer takes, and when to ask again.
        metrics: Where the outcomes are counted.
    """

    def __init__(
        self,
        config: TimestampConfig,
        *,
        authority: TimestampAuthority,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._config = config
        self._authority = authority
        self._clock = clock
        self._metrics = metrics
        self._asks_from = float("-inf")

    @override
    def stamp(self, bundle: bytes) -> bytes:
        if self._clock.monotonic() < self._asks_from:
            self._metrics.timestamps.labels(result="skipped").inc()
            return bundle
        try:
            stamped = self._stamped(bundle)
        except AuditorError as error:
            self._asks_from = self._clock.monotonic() + self._config.pause_seconds
            self._metrics.timestamps.labels(result="failed").inc()
            _log.warning("report not stamped", url=self._config.url, reason=str(error))
            return bundle
        self._metrics.timestamps.labels(result="stamped").inc()
        return stamped

    def _stamped(self, bundle: bytes) -> bytes:
        signature = parse_bundle(bundle).signature
        answer = granted_response(
            ask_authority(
                self._config.url,
                timestamp_query(signature),
                timeout_seconds=self._config.timeout_seconds,
                clock=self._clock,
            )
        )
        prove_time(answer, signature, authorities=[self._authority], where="time-stamp token")
        return attach_token(bundle, answer)


def open_stamper(config: TimestampConfig | None, *, clock: Clock, metrics: Metrics) -> Stamper:
    """Return what stamps a service's reports.

    Raises:
        ArtifactMissingError: If the file of certificates is not there.
        InputError: If it holds no root certificate, or the address may not be asked.
    """
    if config is None:
        return NoStamper()
    url = checked_url(config.url, where="timestamp.url")
    authority = trust_authority(read_authority(config.certificates), name="timestamp.url", url=url)
    return AuthorityStamper(config, authority=authority, clock=clock, metrics=metrics)
