"""What validates the estimators: figures beside exact retraining, on which trainings, and how well.

The dossier is a file of this package, made from the fidelity table by
``python -m benchmarks.fidelity.dossier``. It says for which trainings errors were measured; for any
other, an interval is a guess by analogy, and a report has to say so.
"""

from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Annotated, Final, Literal

from pydantic import Field

from auditor.stagelog.record import DigestField, Figure, Name, Record

DOSSIER_SCHEMA: Final = "stageaudit.dossier.v1"


class Regime(Record):
    """What of a training the errors of estimators depend on, as far as a log tells it.

    Attributes:
        optimizers: Their kinds, ``nesterov`` told apart.
        losses: Their kinds.
        stages: How many.
        steps: Of all stages.
        parameters: Elements that are trained in some stage.
        effective_rate: The largest learning rate, over 1 - momentum where there is momentum; None
            where that of a stage is not known, or not finite.
    """

    optimizers: tuple[Name, ...]
    losses: tuple[Name, ...]
    stages: int
    steps: int
    parameters: int
    effective_rate: Figure | None = None


class ValidatedTraining(Record):
    """One training of the fidelity table."""

    workload: Name
    regime: Regime


class Validated(Record):
    """How the effects of one estimator compare with exact retraining, over all trainings.

    Attributes:
        estimator: Its id; its settings are pooled.
        trainings: Workloads with rows of it.
        rows: Effects that were compared.
        exact: Of these, exact by construction; not in the counts below.
        intervals: Effects with an interval.
        covered: Of these, the true mean lies in the interval.
        called: The verdict is *effect*.
        wrong_sign: Of these, the true mean has the other sign.
    """

    estimator: Name
    trainings: tuple[Name, ...]
    rows: int
    exact: int
    intervals: int
    covered: int
    called: int
    wrong_sign: int


class Dossier(Record):
    """The fidelity table in short; ``table`` is the SHA-256 of its rows."""

    schema_: Annotated[Literal["stageaudit.dossier.v1"], Field(alias="schema")] = DOSSIER_SCHEMA
    table: DigestField
    measured: Name  # the versions that computed it
    trainings: tuple[ValidatedTraining, ...]
    estimators: tuple[Validated, ...]

    def of(self, estimator: str) -> Validated | None:
        """Return what is known of an estimator; None when the table has no row of it."""
        return next((one for one in self.estimators if one.estimator == estimator), None)

    def outside(self, regime: Regime, *, validated: Validated) -> tuple[str, ...]:
        """Return in what a training goes beyond all those that an estimator was compared on.

        Sizes count beyond the largest of the trainings that have all of its optimizers and losses:
        an estimator that holds for short runs of SGD was not shown to hold for longer ones, for
        Adam, or for both in one training.
        """
        compared = [one.regime for one in self.trainings if one.workload in validated.trainings]
        found = _unknown(
            "optimizer", regime.optimizers, [name for one in compared for name in one.optimizers]
        )
        found += _unknown("loss", regime.losses, [name for one in compared for name in one.losses])
        alike = [
            one
            for one in compared
            if set(regime.optimizers) <= set(one.optimizers)
            and set(regime.losses) <= set(one.losses)
        ]
        if not alike and not found:
            what = " and ".join((*regime.optimizers, *regime.losses))
            found.append(f"{what} in one training, not compared")
        for what in ("stages", "steps", "parameters"):
            largest = max((getattr(one, what) for one in alike), default=0)
            if alike and getattr(regime, what) > largest:
                found.append(f"{getattr(regime, what)} {what}, compared up to {largest}")
        rates = [one.effective_rate for one in alike if one.effective_rate is not None]
        if rates and (regime.effective_rate is None or regime.effective_rate > max(rates)):
            rate = "unknown" if regime.effective_rate is None else f"{regime.effective_rate:.3g}"
            found.append(f"effective learning rate {rate}, compared up to {max(rates):.3g}")
        return tuple(found)


@lru_cache(maxsize=1)
def dossier() -> Dossier:
    """Return the dossier of this release."""
    return Dossier.model_validate_json(
        files("auditor.estimators").joinpath("dossier.json").read_bytes()
    )


def _unknown(what: str, names: Sequence[str], known: Sequence[str]) -> list[str]:
    return [f"{what} {name}, not compared" for name in sorted(set(names) - set(known))]
