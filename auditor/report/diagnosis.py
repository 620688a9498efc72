"""What a report says of figures that could not be computed or mean nothing."""

from auditor.errors import NumericalError
from auditor.report.schema import Diagnosis


def diverges(error: NumericalError, *, query: str, intervention: str, what: str) -> Diagnosis:
    """Return the diagnosis of a computation that became non-finite.

    Args:
        error: Where it did.
        query: The query concerned.
        intervention: Label of the intervention concerned.
        what: What was computed, such as ``effect``, and is now absent.
    """
    return Diagnosis(
        id="DIVERGES",
        text=f"No {what} of {intervention} on {query}: the computation diverges at {error.where} "
        f"({error.found}). {error.remedy}",
        query=query,
        intervention=intervention,
    )


def constant_query(query: str, *, examples: int) -> Diagnosis:
    """Return the diagnosis of a query that no intervention changes on any example."""
    return Diagnosis(
        id="CONSTANT_QUERY",
        text=f"{query} has the same value at every model of this audit, on each of {examples} "
        "examples: it cannot show an effect. Ask for the loss or the margin, or evaluate on "
        "examples that are harder.",
        query=query,
    )


def stage_without_update(stage: str) -> Diagnosis:
    """Return the diagnosis of a stage that ends with the parameters it began with."""
    return Diagnosis(
        id="STAGE_WITHOUT_UPDATE",
        text=f"Stage {stage} ended with exactly the parameters it began with: it never changed "
        "one, so that an intervention on it acts through the optimizer's state or buffers, if at "
        "all. Check its learning rate and what was frozen.",
        stage=stage,
    )


def reference_smaller_than_batch(
    intervention: str, *, stage: str, examples: int, batch: int
) -> Diagnosis:
    """Return the diagnosis of a reference that a single step uses more than once."""
    return Diagnosis(
        id="REFERENCE_SMALLER_THAN_BATCH",
        text=f"The reference of {intervention} has {examples} examples, a step of stage {stage} "
        f"uses {batch}: every step repeats examples, and the figure is about that much training "
        "on so few.",
        intervention=intervention,
        stage=stage,
    )


def noise_not_resolved(
    field: str, *, query: str, intervention: str, total: float, unit: str
) -> Diagnosis:
    """Return the diagnosis of a spread over orders below that of the replays' sub-samples."""
    return Diagnosis(
        id="NOISE_NOT_RESOLVED",
        text=f"{field} of {intervention} on {query} is 0 because the sub-samples of the replays "
        f"vary as much as the orders do ({total:.3g} {unit}): it is small against that, not "
        "nothing. Ask with the estimator retrain to measure it.",
        query=query,
        intervention=intervention,
    )
