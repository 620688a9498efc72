"""What is known of how an estimator's figures compare with exact retraining, in a report."""

from typing import Annotated

from pydantic import Field

from auditor.estimators.dossier import Dossier, Regime, Validated
from auditor.stagelog.record import DigestField, Name, Record


class Validation(Record):
    """The validation dossier of the estimator, and whether it speaks for this training.

    Attributes:
        table: SHA-256 of the fidelity table; None when the estimator has no row in it.
        measured: The versions that computed the table.
        trainings: How many trainings the estimator was compared on.
        effects: Effects that were compared.
        exact: Of these, exact by construction.
        intervals: Of the others, effects with an interval.
        covered: Of these, the interval holds the true mean.
        called: Of those that are not exact, the verdict is *effect*.
        wrong_sign: Of these, the true mean has the other sign.
        regime: What of this training was compared with theirs.
        outside: In what this training goes beyond all of them; empty: in nothing that a log tells.
        statement: The same for people.
    """

    table: DigestField | None = None
    measured: Name | None = None
    trainings: Annotated[int, Field(ge=0)] = 0
    effects: Annotated[int, Field(ge=0)] = 0
    exact: Annotated[int, Field(ge=0)] = 0
    intervals: Annotated[int, Field(ge=0)] = 0
    covered: Annotated[int, Field(ge=0)] = 0
    called: Annotated[int, Field(ge=0)] = 0
    wrong_sign: Annotated[int, Field(ge=0)] = 0
    regime: Regime
    outside: tuple[str, ...] = ()
    statement: str


def validation_of(estimator: str, regime: Regime, *, dossier: Dossier) -> Validation:
    """Return what a dossier says of an estimator on a training of this regime."""
    known = dossier.of(estimator)
    if known is None:
        return Validation(
            regime=regime,
            statement=f"{estimator} was never compared with exact retraining; not validated for "
            "this training.",
        )
    outside = dossier.outside(regime, validated=known)
    return Validation(
        table=dossier.table,
        measured=dossier.measured,
        trainings=len(known.trainings),
        effects=known.rows,
        exact=known.exact,
        intervals=known.intervals,
        covered=known.covered,
        called=known.called,
        wrong_sign=known.wrong_sign,
        regime=regime,
        outside=outside,
        statement=f"{_record(known)} {_place(outside)}",
    )


def _record(known: Validated) -> str:
    text = (
        f"{known.estimator} was compared with exact retraining on {known.rows} effects of "
        f"{len(known.trainings)} trainings"
    )
    if known.exact:
        text += f", of which {known.exact} are exact by construction"
    if known.intervals:
        text += (
            f"; of the other intervals {known.covered} of {known.intervals} hold the true mean, "
            f"and {known.wrong_sign} of {known.called} signs that were called are wrong"
        )
    return text + "."


def _place(outside: tuple[str, ...]) -> str:
    if outside:
        beyond = "; ".join(outside)
        return f"This training lies outside of them, not validated for this one: {beyond}."
    return (
        "This training lies within them in optimizer, loss, stages, steps, parameters and learning "
        "rate; sharpness, on which errors depend most, was not compared."
    )
