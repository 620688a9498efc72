"""Readiness: named conditions, one gRPC health status, one gauge."""

import asyncio
from collections.abc import Mapping
from typing import final

from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckResponse

from service.metrics import Metrics

SERVICE = ""
"""What probes and clients ask about by default: everything."""


@final
class Readiness:
    """Whether the service takes requests: all conditions hold and it is not draining.

    Args:
        conditions: Names of what must hold; none holds at first.
        metrics: Shows the result.
    """

    def __init__(self, *, conditions: tuple[str, ...], metrics: Metrics) -> None:
        self.servicer = health.aio.HealthServicer()
        self._conditions = dict.fromkeys(conditions, False)
        self._draining = False
        self._metrics = metrics
        self._metrics.ready.set(0)
        self.became_ready = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Whether every condition holds and the service is not stopping."""
        return all(self._conditions.values()) and not self._draining

    @property
    def conditions(self) -> Mapping[str, bool]:
        """Which conditions hold."""
        return {**self._conditions, "not draining": not self._draining}

    async def begin(self) -> None:
        """Say NOT_SERVING before the server listens; the servicer would say SERVING."""
        await self._publish()

    async def report(self, condition: str, *, holds: bool) -> None:
        """Note whether a condition holds."""
        if self._conditions[condition] is not holds:
            self._conditions[condition] = holds
            await self._publish()

    async def drain(self) -> None:
        """Say NOT_SERVING from now on, whatever the conditions are."""
        self._draining = True
        self._metrics.ready.set(0)
        await self.servicer.enter_graceful_shutdown()

    async def _publish(self) -> None:
        self._metrics.ready.set(int(self.ready))
        if self.ready:
            self.became_ready.set()
        serving = HealthCheckResponse.SERVING if self.ready else HealthCheckResponse.NOT_SERVING
        await self.servicer.set(SERVICE, serving)
