"""Log lines: one JSON object each on stderr; untrusted text is cut and escaped."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

VALUE_CHARACTERS = 256
TRACE_CHARACTERS = 8192

_SECRET_FIELDS = frozenset({"authorization", "token"})


def configure_logs() -> None:
    """Send the log lines of this process to stderr as JSON."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            clean,
            structlog.processors.JSONRenderer(ensure_ascii=True),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        # Looked up for each line: whoever redirects stderr gets the lines from then on.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )


def clean(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Hide secrets and cut long values; JSON escapes the rest."""
    for key, value in event.items():
        limit = TRACE_CHARACTERS if key == "exception" else VALUE_CHARACTERS
        if key in _SECRET_FIELDS:
            event[key] = "hidden"
        elif isinstance(value, str) and len(value) > limit:
            event[key] = value[: limit - 1] + "…"
    return event
