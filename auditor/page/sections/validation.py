"""How far the estimator was shown to agree with exact retraining, and where this training lies."""

from dataclasses import dataclass

from auditor.estimators.dossier import Regime
from auditor.page.facts import PageFacts
from auditor.page.figures import plain
from auditor.report.schema import Report

Fact = tuple[str, str]
"""A name and what is to say."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidationPart:
    """The section."""

    statement: str
    counts: tuple[Fact, ...]
    regime: tuple[Fact, ...]


def validation_part(report: Report, _: PageFacts) -> ValidationPart | None:
    """Return what validates the estimator; None for a report of a release without a dossier."""
    found = report.validation
    if found is None:
        return None
    counts = (
        ("Trainings compared", f"{found.trainings:,}"),
        ("Effects compared", f"{found.effects:,}, of which {found.exact:,} exact by construction"),
        ("Intervals that hold the truth", f"{found.covered:,} of {found.intervals:,}"),
        ("Signs called wrongly", f"{found.wrong_sign:,} of {found.called:,}"),
        ("Measured with", found.measured or ""),
        ("Fidelity table", found.table or ""),
    )
    return ValidationPart(
        statement=found.statement,
        counts=tuple((name, text) for name, text in counts if text) if found.table else (),
        regime=_regime(found.regime),
    )


def _regime(regime: Regime) -> tuple[Fact, ...]:
    rate = regime.effective_rate
    return (
        ("Optimizers", ", ".join(regime.optimizers)),
        ("Losses", ", ".join(regime.losses)),
        ("Stages and steps", f"{regime.stages:,}, {regime.steps:,}"),
        ("Trained parameters", f"{regime.parameters:,}"),
        ("Effective learning rate", "unknown" if rate is None else plain(rate)),
    )
