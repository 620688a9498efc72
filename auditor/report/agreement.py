"""Which figures of two reports on one request agree: bit for bit, within a tolerance, or not.

Figures are compared one by one, each under a name that people can read. A figure may be off by the
tolerance times the larger of itself and its query's value: an effect is a difference of two such
values, so that is the scale of its rounding. Measurements of rounding itself are no figures in this
sense: they are compared only where the same bits were computed.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from auditor.effects import Effect
from auditor.report.reproduction import Agreement, ComparedFigure
from auditor.report.schema import Report

DEFAULT_TOLERANCE: Final = 1e-4
"""Relative; what float32 trajectories in other places differ by (docs/decisions/0023)."""

STATISTICS: Final = 1e-9
"""Relative; what means and quantiles of the same float64 numbers may differ by between versions."""

COMPUTED: Final = (
    "log", "model", "estimator", "evaluation_data", "queries", "effects", "disagreements", "joints",
    "allocations", "timelines", "examples", "extremes", "cost", "diagnoses", "multiplicity",
    "repair",
)  # fmt: skip
"""Parts of a report that follow from its request and the results of its actions."""

_ROUNDING: Final = frozenset({
    "deviation", "tolerance", "amplification", "worst", "detectable_state", "detectable_update",
    "rounding_coordinates", "consistency_statement",
})  # fmt: skip
"""What the check of a log measures: rounding errors, and words with their size."""
_BITS: Final = re.compile(r"^(examples\.digest|repair\.model\.digest|extremes\[.*\]\.id)$")
"""Digests of computed numbers, and places in an order that ties decide."""
_SENTENCES: Final = frozenset({"statement", "text"})
"""Words with figures in them."""
_NUMBER: Final = re.compile(r"[-+−]?\d[\d.,]*(e[-+]?\d+)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """How figures are compared.

    Args:
        tolerance: Relative.
        same_bits: Whether every result that they follow from is the same bit for bit: then words
            have to be the same, and figures but for the rounding of statistics.
    """

    tolerance: float
    same_bits: bool


def compared_reports(
    signed: Report, again: Report, *, how: Comparison, parts: Sequence[str] = COMPUTED
) -> tuple[ComparedFigure, ...]:
    """Return every figure of two reports with how it agrees.

    Args:
        signed: The report as it was issued.
        again: What the same request came to.
        how: The tolerance.
        parts: Which parts are compared.
    """
    values = {query.query: abs(query.value) for query in signed.queries}
    first, second = _leaves_of(signed, parts), _leaves_of(again, parts)
    if signed.software.stageaudit != again.software.stageaudit:
        # A later version may say more than the one that signed.
        second = {where: leaf for where, leaf in second.items() if where in first}
    both = (
        ComparedFigure(
            where=where,
            agreement=Agreement.IDENTICAL,
            signed=first.get(where),
            again=second.get(where),
        )
        for where in dict.fromkeys((*first, *second))
    )
    return tuple(
        figure.model_copy(update={"agreement": _compared(figure, values, how=how)})
        for figure in both
    )


def _leaves_of(report: Report, parts: Sequence[str]) -> dict[str, JsonValue]:
    plain = report.model_dump(mode="json", by_alias=True, exclude_none=True, include=set(parts))
    found = [part for part in parts if part in plain]
    return {where: leaf for part in found for where, leaf in _leaves(plain[part], part)}


def _leaves(value: JsonValue, where: str) -> Iterator[tuple[str, JsonValue]]:
    """Yield figures and words by readable places: ``effects[skip a on loss].value``."""
    if where.endswith(".action_keys"):
        yield where, value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, f"{where}.{name}")
    elif isinstance(value, list):
        seen: Counter[str] = Counter()
        for number, inner in enumerate(value):
            name = row_name(inner) or str(number)
            seen[name] += 1
            shown = name if seen[name] == 1 else f"{name} #{seen[name]}"
            yield from _leaves(inner, f"{where}[{shown}]")
    else:
        yield where, value


def place_of(effect: Effect) -> str:
    """Return the place of an effect's figures."""
    return f"effects[{effect.intervention} on {effect.query}]"


def row_of(figure: ComparedFigure) -> str:
    """Return the place of the row that a figure is in."""
    return figure.where.rpartition("].")[0] + "]"


def row_name(row: JsonValue) -> str | None:
    """Return what a row of a report is about: ``intervention on query``, or either."""
    if not isinstance(row, Mapping):
        return None
    about = [row.get("intervention"), row.get("query")]
    named = [text for text in about if isinstance(text, str)]
    return " on ".join(named) or None


def _compared(figure: ComparedFigure, values: Mapping[str, float], *, how: Comparison) -> Agreement:
    """Return how the two sides of a figure agree.

    Args:
        figure: Both sides, the agreement not known yet.
        values: Sizes of the queries' values.
        how: The tolerance.
    """
    where, signed, again = figure.where, figure.signed, figure.again
    if signed == again and type(signed) is type(again):
        return Agreement.IDENTICAL
    name = where.rpartition(".")[2]
    if signed is None or again is None:
        return Agreement.DIFFERENT
    if not how.same_bits and (_BITS.match(where) or _is_rounding(where, name)):
        return Agreement.WITHIN
    one, other = _number(signed), _number(again)
    if one is not None and other is not None:
        scale = max(abs(one), abs(other), _scale(where, name, values))
        tolerance = min(how.tolerance, STATISTICS) if how.same_bits else how.tolerance
        close = abs(one - other) <= tolerance * scale
        return Agreement.WITHIN if close else Agreement.DIFFERENT
    words = isinstance(signed, str) and isinstance(again, str) and name in _SENTENCES
    if words and not how.same_bits and _words(str(signed)) == _words(str(again)):
        return Agreement.WITHIN
    return Agreement.DIFFERENT


def _is_rounding(where: str, name: str) -> bool:
    return name in _ROUNDING and where.startswith(("log.", "model."))


def _number(value: JsonValue) -> float | None:
    """Return a figure; counts and flags are compared as they are."""
    return value if isinstance(value, float) else None


def _scale(where: str, name: str, values: Mapping[str, float]) -> float:
    """Return the size of what a figure is a difference of."""
    if name == "p_value":
        return 1.0
    return max((size for query, size in values.items() if _is_about(where, query)), default=0.0)


def _is_about(where: str, query: str) -> bool:
    return f"[{query}]" in where or f" on {query}]" in where or f" on {query} #" in where


def _words(text: str) -> str:
    return _NUMBER.sub("#", text)
