"""The base of every record that crosses a boundary: frozen, strict, complete."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

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

EXACT_LIMIT = 2**53
"""From this magnitude on JSON readers may round a number, so figures are written as text."""


def _figure_from_json(value: object) -> object:
    if not isinstance(value, str):
        return value
    number = float(value)
    if abs(number) < EXACT_LIMIT or repr(number) != value:
        raise ValueError("a figure is text only from 2^53 on, and then in its shortest form")
    return number


def _figure_to_json(value: float) -> float | str:
    return repr(value) if abs(value) >= EXACT_LIMIT else value


Figure = Annotated[
    float,
    BeforeValidator(_figure_from_json, json_schema_input_type=float | str),
    PlainSerializer(_figure_to_json, return_type=float | str, when_used="json"),
]
"""A measured number; in JSON a string from 2^53 on (decisions, 23)."""

Dimension = Annotated[int, Field(ge=0, le=2**40)]
Shape = Annotated[tuple[Dimension, ...], Field(max_length=8)]
