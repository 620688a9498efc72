"""What is known of the model that a report releases: the audited one, or a repaired one.

A repair report has the figures of the audited model, and the queries at the repaired one. A gate is
about what goes out.
"""

from auditor.effects import Effect, Verdict
from auditor.report.schema import Report


def as_released(report: Report) -> Report:
    """Return a report with the figures of the model that it releases.

    Of a repaired model: queries have their values after the repair. What the repair took out has no
    effect on it, since taking it out again changes nothing. Other effects were measured on the
    audited model only, and are absent.
    """
    repair = report.repair
    if repair is None:
        return report
    after = {row.query: row for row in repair.queries}
    return report.model_copy(
        update={
            "queries": tuple(
                query.model_copy(update={"value": after[query.query].after})
                for query in report.queries
                if query.query in after
            ),
            "effects": tuple(
                _taken_out(effect) if effect.intervention == repair.label else _unknown(effect)
                for effect in report.effects
            ),
        }
    )


def _taken_out(effect: Effect) -> Effect:
    # Whatever the examples are drawn from: taking out what is out changes nothing on any of them.
    zero = dict.fromkeys(("value", "low", "high", "population_low", "population_high"), 0.0)
    figures = {**zero, "exact_by_construction": True}
    return effect.model_copy(update={**figures, "verdict": Verdict.WITHIN_REPLAY_SPREAD})


def _unknown(effect: Effect) -> Effect:
    figures = dict.fromkeys(("value", "low", "high", "population_low", "population_high"))
    return effect.model_copy(update={**figures, "verdict": Verdict.NOT_RESOLVED})
