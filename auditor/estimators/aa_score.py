"""``aa_score``: the derivative of the query by the stage's updates, in two forms."""

from typing import Annotated, Literal

from pydantic import Field

from auditor.estimators.aa_adjoint import AaAdjoint
from auditor.estimators.aa_tangent import AaTangent
from auditor.estimators.base import Estimator
from auditor.estimators.kind import EstimatorKind
from auditor.plan.check_average import require_no_average
from auditor.plan.curvature import CurvatureName
from auditor.plan.settings import DEFAULT_CURVATURE_EXAMPLES, OwnSettings
from auditor.stagelog.log import StageLog


class AaScoreSettings(OwnSettings):
    """The paper's AA-Score: d gamma / d alpha at alpha = 1.

    ``curvature_examples`` is how many examples of each stage ``ekfac`` is computed from.
    """

    id: Literal["aa_score"] = "aa_score"
    form: Literal["tangent", "adjoint"] = "tangent"
    curvature: CurvatureName = "exact"
    curvature_examples: Annotated[int, Field(ge=1, le=2**20)] = DEFAULT_CURVATURE_EXAMPLES


def _build(settings: AaScoreSettings) -> Estimator:
    form = AaTangent if settings.form == "tangent" else AaAdjoint
    return form(curvature=settings.curvature, curvature_examples=settings.curvature_examples)


def _check(settings: AaScoreSettings, log: StageLog) -> None:
    if settings.form == "adjoint":  # one sweep goes back through every stage
        require_no_average(log.stages)


AA_SCORE = EstimatorKind(
    settings=AaScoreSettings,
    build=_build,
    level=2,
    averages=False,
    answers="the derivative of the query by the stage's updates (tangent or adjoint; "
    "curvature exact, ggn, ekfac or none)",
    cost="1 (none, ekfac) to 3 (exact) gradients a later step; tangent once a stage, adjoint "
    "once a query",
    interval="no",
    interventions=("skip", "fade"),
    differentiates=True,
    check=_check,
)
