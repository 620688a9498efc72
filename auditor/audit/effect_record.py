"""One row of effects as the report writes it."""

from collections.abc import Mapping, Sequence

from auditor.audit.questions import Row
from auditor.effects import Effect, SelfCheck
from auditor.estimators.interval import Summary
from auditor.estimators.noise import NoiseKind
from auditor.plan.actions import ActionKey
from auditor.plan.request import Joint
from auditor.report.wording import effect_statement


def effect_of(
    row: Row,
    found: Summary,
    *,
    confidence: float,
    sd: Mapping[NoiseKind, float],
    baselines: Mapping[str, float],
    examples: int,
    keys: Sequence[ActionKey],
) -> Effect:
    """Return the record of one effect.

    Args:
        row: Intervention and query.
        found: The figures, and the verdict, all measurements considered.
        confidence: Of the interval, if there is one.
        sd: Spreads that were measured.
        baselines: Free baselines by name.
        examples: How many the query is evaluated on.
        keys: The actions that the row rests on.
    """
    intervention = row.intervention
    low, high = found.low, found.high
    interval = None if low is None or high is None else (low, high)
    population = found.population or (None, None)
    return Effect(
        query=row.query.name,
        unit=row.query.unit,
        better=row.query.better,
        intervention=intervention.label,
        kind=intervention.kind,
        stage=None if isinstance(intervention, Joint) else intervention.stage,
        stages=tuple(part.stage for part in intervention.parts)
        if isinstance(intervention, Joint)
        else (),
        value=found.value,
        low=low,
        high=high,
        confidence=confidence if interval else None,
        spread=found.spread,
        resolution=found.resolution,
        sampling_error=found.sampling,
        population_low=population[0],
        population_high=population[1],
        p_value=found.p_value,
        sd_order=sd.get("order"),
        sd_rerun=sd.get("rerun"),
        self_check=None
        if found.deviation is None
        else SelfCheck(kind="factual_replay", deviation=found.deviation),
        verdict=found.verdict,
        baselines=dict(baselines),
        n=examples,
        exact_by_construction=found.exact,
        statement=effect_statement(
            intervention,
            query=row.query.name,
            unit=row.query.unit,
            value=found.value,
            interval=interval,
            confidence=confidence,
        ),
        action_keys=tuple(keys),
    )
