"""Settings of the time-stamping authority that a service asks about each report it signs."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class TimestampConfig(BaseModel):
    """Which authority, and for how long it may take.

    Args:
        url: Its address: https, or http to this machine.
        certificates: PEM file with its root certificate and those below it; a token that does not
            verify by them is not attached.
        timeout_seconds: For connecting, for each read, and for the answer as a whole once its
            head is there; the scheduler waits meanwhile.
        pause_seconds: For how long the authority is not asked after it failed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    certificates: Path
    timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 5
    pause_seconds: Annotated[float, Field(ge=0)] = 60
