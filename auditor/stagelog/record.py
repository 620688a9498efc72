"""The base of every record that crosses a boundary: frozen, strict, complete."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from auditor.stagelog.digest import DIGEST_PATTERN


class Record(BaseModel):
    """A value read from or written to JSON; unknown fields and non-finite numbers are refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        populate_by_name=True,
        serialize_by_alias=True,
    )


DigestField = Annotated[str, Field(pattern=DIGEST_PATTERN)]
"""A SHA-256 digest inside a record."""

Name = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""A name given by a person: printable, not empty, at most 128 characters."""

Dimension = Annotated[int, Field(ge=0, le=2**40)]
Shape = Annotated[tuple[Dimension, ...], Field(max_length=8)]
