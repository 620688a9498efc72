"""Can the model of an intervention be handed out, and are its goals about what is asked?"""

from collections.abc import Sequence

from auditor.errors import InputError, UnsupportedError
from auditor.plan.repair import RepairRequest
from auditor.plan.settings import EstimatorSettings

EXPORTING = ("retrain", "subsampled_replay")
"""Estimators that compute the state at the end of a counterfactual run, optimizer and buffers
included; the others know effects or displacements only."""


def check_repair(
    repair: RepairRequest,
    settings: EstimatorSettings,
    *,
    labels: Sequence[str],
    queries: Sequence[str],
) -> None:
    """Refuse a repair that names what the request does not hold, or that nothing computes.

    Args:
        repair: What is asked.
        settings: The resolved estimator.
        labels: Labels of the request's interventions, in order.
        queries: Names of its queries.

    Raises:
        UnsupportedError: If the estimator computes no model.
        InputError: If the intervention or a goal's query is not one of the request's.
    """
    if settings.id not in EXPORTING:
        raise UnsupportedError(
            "estimator",
            expected=" or ".join(EXPORTING) + ", which compute a model that can be handed out",
            found=settings.id,
            remedy="Use retrain (exact), or subsampled_replay where retraining costs too much.",
        )
    if repair.intervention >= len(labels):
        raise InputError(
            "repair.intervention",
            expected=f"a position among {len(labels)} interventions, counted from 0",
            found=repair.intervention,
            remedy="Name the intervention whose model is handed out.",
        )
    for index, goal in enumerate(repair.goals):
        if goal.query not in queries:
            raise InputError(
                f"repair.goals[{index}].query",
                expected="one of the queries: " + ", ".join(queries),
                found=goal.query,
                remedy="Correct the name, or add the query to the request.",
            )
