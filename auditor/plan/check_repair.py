"""Can the model of an intervention be handed out, and are its goals about what is asked?"""

from collections.abc import Sequence

from auditor.errors import InputError
from auditor.plan.repair import RepairRequest


def check_repair(
    repair: RepairRequest,
    *,
    labels: Sequence[str],
    queries: Sequence[str],
) -> None:
    """Refuse a repair that names what the request does not hold, or that nothing computes.

    Args:
        repair: What is asked.
        labels: Labels of the request's interventions, in order.
        queries: Names of its queries.

    Raises:
        InputError: If the intervention or a goal's query is not one of the request's.
    """
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
