"""Which curvature stands in a step's Jacobian, as an action names it."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from auditor.stagelog.record import Record

CurvatureName: TypeAlias = Literal["exact", "ggn", "ekfac", "none"]
"""As settings name it."""


class SampledCurvature(Record):
    """EK-FAC of each stage at its recorded end, from at most ``examples`` of its own examples.

    ``seed`` drives which examples.
    """

    id: Literal["ekfac"] = "ekfac"
    examples: Annotated[int, Field(ge=1)]
    seed: int


StepCurvature: TypeAlias = Literal["exact", "ggn", "none"] | SampledCurvature


def step_curvature(name: CurvatureName, *, examples: int, seed: int) -> StepCurvature:
    """Return what an action says of a curvature; what it does not depend on is left out."""
    return SampledCurvature(examples=examples, seed=seed) if name == "ekfac" else name
