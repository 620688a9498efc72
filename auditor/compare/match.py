"""Which rows of two reports are about the same intervention and query."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import final

from auditor.effects import Effect
from auditor.policy.rows import row_key, stages_of
from auditor.report.schema import Report


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """An effect of A and its counterpart in B; ``effect`` is that of B where there is one."""

    effect: Effect
    a: Effect | None
    b: Effect | None


def matched(a: Report, b: Report) -> Iterator[Pair]:
    """Yield every effect of either report once, with its counterpart in the other; B's come first.

    Rows match by query, kind and label. Rows left over match by query, kind and stages where one is
    left on each side: the same intervention with another reference or level.
    """
    before = _by_key((row_key(effect), effect) for effect in a.effects)
    found = {place: own.pop(0) for place, own in _places(b, before) if own}
    left = [effect for effects in before.values() for effect in effects]
    alone = [place for place in range(len(b.effects)) if place not in found]
    remaining = _by_key((_about(effect), effect) for effect in left)
    wanting = _by_key((_about(b.effects[place]), b.effects[place]) for place in alone)
    for place in alone:
        key = _about(b.effects[place])
        if len(remaining[key]) == len(wanting[key]) == 1:
            found[place] = remaining[key].pop()
    for place, effect in enumerate(b.effects):
        yield Pair(effect=effect, a=found.get(place), b=effect)
    used = {id(effect) for effect in found.values()}
    yield from (
        Pair(effect=effect, a=effect, b=None) for effect in a.effects if id(effect) not in used
    )


def _places(
    report: Report, before: dict[Hashable, list[Effect]]
) -> Iterator[tuple[int, list[Effect]]]:
    for place, effect in enumerate(report.effects):
        yield place, before[row_key(effect)]


def _by_key(pairs: Iterable[tuple[Hashable, Effect]]) -> dict[Hashable, list[Effect]]:
    grouped: dict[Hashable, list[Effect]] = defaultdict(list)
    for key, effect in pairs:
        grouped[key].append(effect)
    return grouped


def _about(effect: Effect) -> Hashable:
    return effect.query, effect.kind, stages_of(effect)
