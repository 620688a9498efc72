"""``stageaudit.comparison.v1``: two reports, their settings first, then matched rows."""

from typing import Annotated, Final, Literal

from pydantic import Field

from auditor.effects import Better, Verdict
from auditor.stagelog.record import DigestField, Figure, Name, Record

COMPARISON_SCHEMA: Final = "stageaudit.comparison.v1"


class Setting(Record):
    """Something in which the two reports were made differently; None where a side has none."""

    what: str
    a: str | None = None
    b: str | None = None


class Side(Record):
    """What one report says of a row."""

    value: Figure | None = None
    low: Figure | None = None
    high: Figure | None = None
    confidence: float | None = None
    verdict: Annotated[Verdict, Field(strict=False)]
    n: int
    intervention: Name


class ComparedRow(Record):
    """An effect in both reports, or in one of them.

    ``difference`` is B minus A, with the errors of both taken as independent in ``low`` and
    ``high``. ``overlap`` says whether the intervals share a point; None without two intervals.
    ``flags`` say why the sides are not about the same thing: then there is no difference where unit
    or direction differ, and it is to be read with the flags otherwise.
    """

    query: Name
    kind: str
    stages: tuple[Name, ...]
    unit: str
    better: Annotated[Better, Field(strict=False)]
    a: Side | None = None
    b: Side | None = None
    difference: Figure | None = None
    low: Figure | None = None
    high: Figure | None = None
    overlap: bool | None = None
    verdict_changed: bool = False
    flags: tuple[str, ...] = ()

    @property
    def intervention(self) -> str:
        """The intervention's label, that of B where the two differ."""
        side = self.b or self.a
        return "" if side is None else side.intervention


class ComparedValue(Record):
    """A query at the model of each report."""

    query: Name
    unit: str
    better: str
    a: Figure | None = None
    b: Figure | None = None
    difference: Figure | None = None
    flags: tuple[str, ...] = ()


class ComparedReport(Record):
    """One of the two, by what was signed."""

    id: DigestField
    log: DigestField
    log_name: Name
    model: DigestField
    estimator: str
    created: str | None = None


class Comparison(Record):
    """Two verified reports.

    ``comparable`` is false where a matched row has flags, or no row is in both. ``names`` are those
    of evaluation sets by the beginning of their digests, which labels have.
    """

    schema_: Annotated[Literal["stageaudit.comparison.v1"], Field(alias="schema")] = (
        COMPARISON_SCHEMA
    )
    a: ComparedReport
    b: ComparedReport
    comparable: bool
    settings: tuple[Setting, ...]
    values: tuple[ComparedValue, ...]
    rows: tuple[ComparedRow, ...]
    names: dict[str, str]

    @property
    def matched(self) -> tuple[ComparedRow, ...]:
        """Rows that are in both."""
        return tuple(row for row in self.rows if row.a is not None and row.b is not None)
