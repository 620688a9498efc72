"""Thresholds that noise would cross: a gate on them comes out one way today, another tomorrow."""

from auditor.effects import Effect
from auditor.policy.released import as_released
from auditor.policy.rows import Span, effects_of, span_of
from auditor.policy.schema import EffectRule, Policy
from auditor.report.schema import Report


def flapping(policy: Policy, report: Report) -> tuple[str, ...]:
    """Return a warning for every bound that lies inside the noise of an effect.

    Noise is what another audit of the same run could say (half the interval that the rule judges),
    and what another order of batches or another run of the pipeline would (``sd_order``,
    ``sd_rerun``, where they were measured; 90 % of reruns lie within 1.64 of them).

    Raises:
        PolicyError: If a rule names what the report does not have.
    """
    warnings = []
    released = as_released(report)
    for rule in policy.rules:
        if not isinstance(rule, EffectRule) or rule.against == "baseline":
            continue
        rows = effects_of(rule, released)
        for effect in rows:
            for bound in (rule.at_most, rule.at_least):
                if bound is not None and (text := _warning(rule, effect, bound)):
                    warnings.append(text)
    return tuple(warnings)


def _warning(rule: EffectRule, effect: Effect, bound: float) -> str | None:
    span = span_of(effect, rule.judge)
    if span is None:
        return None
    distance = abs(span.value - bound)
    noises = {
        "what the interval leaves open": _half(span),
        "what another order of batches gives": _within(effect.sd_order),
        "what a rerun of the pipeline gives": _within(effect.sd_rerun),
    }
    inside = {what: width for what, width in noises.items() if width > distance}
    if not inside:
        return None
    what, width = max(inside.items(), key=lambda item: item[1])
    return (
        f"rule {rule.name!r}: {effect.intervention} on {effect.query} is {distance:.2g} "
        f"{effect.unit} from the bound {bound:.4g}, and {what} differs by up to {width:.2g}: "
        "the outcome would change from run to run. Move the bound, or lower the tolerance."
    )


def _half(span: Span) -> float:
    if span.low is None or span.high is None:
        return 0.0
    return (span.high - span.low) / 2


def _within(deviation: float | None) -> float:
    return 1.64 * (deviation or 0.0)
