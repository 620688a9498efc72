"""What a check of a stored log asks for."""

from typing import Annotated, Literal

from pydantic import Field

from auditor.stagelog.record import DigestField, Record

LOG_CHECK_SCHEMA: Literal["stageaudit.logcheck.v1"] = "stageaudit.logcheck.v1"


class LogCheckRequest(Record):
    """Replay every stage of a log and compare with its checkpoints.

    ``sample`` is the part of each stage's segments that is replayed, drawn by ``seed``; None for
    all of them.
    """

    schema_: Annotated[Literal["stageaudit.logcheck.v1"], Field(alias="schema")] = LOG_CHECK_SCHEMA
    log: DigestField
    sample: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**53)] = 0
