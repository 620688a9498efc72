"""``stageaudit.reproduction.v1``: what a report's figures came to when they were computed again."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import Field, JsonValue

from auditor.effects import Effect
from auditor.plan.actions import ActionKey
from auditor.report.execution import Environment
from auditor.stagelog.record import DigestField, Figure, Record

REPRODUCTION_SCHEMA: Final = "stageaudit.reproduction.v1"


class Agreement(StrEnum):
    """How a figure agrees with what it came to again; later ones are worse.

    ``identical`` is bit for bit. What is computed again in other places (lanes, threads, device,
    versions) may differ in the last digits, which is what ``within tolerance`` allows.
    """

    IDENTICAL = "identical"
    WITHIN = "within tolerance"
    DIFFERENT = "different"


ORDER = tuple(Agreement)


def worst(agreements: Iterable[Agreement]) -> Agreement:
    """Return the worst of some agreements, identical where there is none."""
    return max(agreements, key=ORDER.index, default=Agreement.IDENTICAL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Only:
    """What is computed again of a report: some effects with what they need, and some keys."""

    effects: tuple[Effect, ...] = ()
    keys: frozenset[ActionKey] = frozenset()


class ComparedFigure(Record):
    """One figure, or one word that is computed such as a verdict; None where a side has none."""

    where: str
    agreement: Annotated[Agreement, Field(strict=False)]
    signed: JsonValue = None
    again: JsonValue = None


class ComparedKey(Record):
    """One action computed again.

    ``signed`` is the result that the report names, None where it names none: then its figures
    decide. ``as_recorded`` says whether it and its inputs ran in the same groups, with the software
    and hardware that the report tells of, so that the same bits were to be expected.
    """

    key: DigestField
    kind: str
    agreement: Annotated[Agreement, Field(strict=False)]
    signed: DigestField | None = None
    again: DigestField
    as_recorded: bool


class ChangedEnvironment(Record):
    """A fact of software or hardware that differs from the recorded one."""

    fact: str
    recorded: str
    here: str


class Missing(Record):
    """Something that it would take and that is not at hand any more."""

    what: str
    why: str


class Reproduction(Record):
    """Whether a report's figures come out again.

    ``outcome`` is the worst of all figures and keys. ``not_compared`` names what was left out.
    ``tolerance`` is relative to the larger of a figure and its query's value.
    """

    schema_: Annotated[Literal["stageaudit.reproduction.v1"], Field(alias="schema")] = (
        REPRODUCTION_SCHEMA
    )
    report: DigestField
    outcome: Literal["identical", "within tolerance", "different", "no longer reproducible"]
    tolerance: Figure
    figures: tuple[ComparedFigure, ...] = ()
    keys: tuple[ComparedKey, ...] = ()
    environment: Environment | None = None
    changed: tuple[ChangedEnvironment, ...] = ()
    missing: tuple[Missing, ...] = ()
    not_compared: tuple[str, ...] = ()
