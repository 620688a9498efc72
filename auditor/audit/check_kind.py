"""Does the estimator treat what is asked? What it does not is refused by name."""

from collections.abc import Sequence

from auditor.effects import DIFFERENTIABLE, QueryKind
from auditor.errors import PreconditionError, UnsupportedError
from auditor.estimators.kind import AnyKind
from auditor.estimators.registry import KINDS
from auditor.plan.check_average import require_no_average
from auditor.plan.request import Intervention, Joint
from auditor.stagelog.log import StageLog

INSTEAD = "Use subsampled_replay or retrain for this intervention."


def require_level(kind: AnyKind, log: StageLog) -> None:
    """Refuse a log that holds less than the estimator reads.

    Raises:
        PreconditionError: Naming what is missing.
    """
    if log.level < kind.level:
        free = " or ".join(other.id for other in KINDS if other.level == 0)
        raise PreconditionError(
            "log.level",
            expected=f"level {kind.level} for {kind.id}: schedules, optimizer states at the "
            "boundaries and every batch with its data",
            found=f"level {log.level}, without {_first_lacking(log)}",
            remedy=f"Use {free}, or record the run with batches.",
        )


def require_treated(kind: AnyKind, intervention: Intervention, *, where: str) -> None:
    """Refuse an intervention on one stage that the estimator does not treat.

    Raises:
        UnsupportedError: Naming the intervention and what treats it.
    """
    where = f"{where}.kind"
    if not kind.parts_of_stages and (
        intervention.steps is not None or intervention.kind not in kind.interventions
    ):
        raise UnsupportedError(
            where,
            expected=f"a {_either(kind.interventions)} of a whole stage for {kind.id}",
            found=intervention.label,
            remedy=INSTEAD,
        )
    if intervention.kind not in kind.interventions:
        raise UnsupportedError(
            where,
            expected=f"{_either(kind.interventions)} for {kind.id}",
            found=intervention.kind,
            remedy=INSTEAD,
        )


def require_separate(kind: AnyKind, interventions: Sequence[Intervention | Joint]) -> None:
    """Refuse interventions on several stages at once where later stages have to be as recorded.

    Raises:
        UnsupportedError: Naming the first of them.
    """
    if kind.joint:
        return
    for index, intervention in enumerate(interventions):
        if isinstance(intervention, Joint):
            raise UnsupportedError(
                f"interventions[{index}]",
                expected=f"interventions on one stage each for {kind.id}, whose later stages "
                "are as recorded",
                found=intervention.label,
                remedy="Use subsampled_replay or retrain for joint interventions.",
            )


def require_followed(kind: AnyKind, part: Intervention, log: StageLog) -> None:
    """Refuse later stages that release an average, for an estimator that does not follow one.

    Raises:
        UnsupportedError: Naming the stage.
    """
    if not kind.averages:
        names = [stage.name for stage in log.stages]
        require_no_average(log.stages[names.index(part.stage) :])


def require_gradient(kind: AnyKind, query: QueryKind, *, where: str) -> None:
    """Refuse a query without a gradient for an estimator that differentiates it.

    Raises:
        UnsupportedError: Naming the query's kind.
    """
    if kind.differentiates and query not in DIFFERENTIABLE:
        raise UnsupportedError(
            where,
            expected=f"a query with a gradient for {kind.id}",
            found=query.value,
            remedy="Ask for margin or probability, or use another estimator.",
        )


def require_allocation(kind: AnyKind) -> None:
    """Refuse Shapley values by an estimator that does not run any subset of stages.

    Raises:
        UnsupportedError: Naming those that do.
    """
    if not kind.allocates:
        raise UnsupportedError(
            "allocation",
            expected="an estimator of " + ", ".join(one.id for one in KINDS if one.allocates),
            found=kind.id,
            remedy="Choose one of these; the others do not run several interventions at once.",
        )


def require_export(kind: AnyKind) -> None:
    """Refuse a repair by an estimator that knows effects or displacements only.

    Raises:
        UnsupportedError: Naming those that compute the state at the end of a counterfactual run,
            optimizer and buffers included.
    """
    if not kind.exports:
        raise UnsupportedError(
            "estimator",
            expected=" or ".join(one.id for one in KINDS if one.exports)
            + ", which compute a model that can be handed out",
            found=kind.id,
            remedy="Use retrain (exact), or subsampled_replay where retraining costs too much.",
        )


def _either(names: Sequence[str]) -> str:
    return " or ".join(names)


def _first_lacking(log: StageLog) -> str:
    """Return the path of the first thing that keeps a log from level 2."""
    for index in range(len(log.stages) + 1):
        if log.boundary(index).optimizer is None:
            at = "start" if index == 0 else f"stages[{index - 1}].checkpoints[-1]"
            return f"{at}.optimizer"
    for index, stage in enumerate(log.stages):
        for field in ("schedule", "batches"):
            if getattr(stage, field) is None:
                return f"stages[{index}].{field}"
        for name in stage.datasets:
            if log.datasets[name].coverage.kind != "full":
                return f'all examples of datasets["{name}"]'
    return "nothing"
