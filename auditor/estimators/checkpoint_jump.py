"""``checkpoint_jump``: displace the run where the stage ended, carry that on linearly, evaluate.

The displacement of the full state at the end of the intervened stage is known; it is carried
through the later stages by the Jacobians of their recorded steps, and the query is evaluated at the
displaced final parameters, not linearised. Final buffers stay as recorded (decisions, 3 and 6).
"""

from dataclasses import dataclass
from typing import Annotated, Literal, final

import numpy as np
from pydantic import Field
from typing_extensions import override

from auditor.errors import UnsupportedError
from auditor.estimators.base import Estimator, Question, Sample, Values
from auditor.estimators.kind import EstimatorKind
from auditor.estimators.whole_batches import require_whole_batches
from auditor.plan.actions import ActionSpec
from auditor.plan.chains import is_whole_skip
from auditor.plan.curvature import CurvatureName
from auditor.plan.settings import DEFAULT_CURVATURE_EXAMPLES, OwnSettings
from auditor.plan.twins import Twins, carry_twins, displaced_start
from auditor.stagelog.log import StageLog


class CheckpointJumpSettings(OwnSettings):
    """Carry the displacement that the stage left behind linearly on, and evaluate there.

    ``curvature`` stands in the Jacobians of the recorded steps; ``source`` takes one exponential of
    each stage's EK-FAC instead of its steps. ``curvature_examples`` is how many examples of each
    stage an EK-FAC is computed from, ``fraction`` the part b / B of the examples on which an
    intervened stage that is not skipped is run, ``step_fraction`` that on which the Jacobians of
    later steps are taken, for ``replicas`` draws.
    """

    id: Literal["checkpoint_jump"] = "checkpoint_jump"
    curvature: CurvatureName | Literal["source"] = "exact"
    curvature_examples: Annotated[int, Field(ge=1, le=2**20)] = DEFAULT_CURVATURE_EXAMPLES
    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    step_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    replicas: Annotated[int, Field(ge=1, le=64)] = 1


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointJump(Estimator):
    """gamma(xi_K) - gamma(xi_K + J ... J (xi'_{b_t} - xi_{b_t})); exact for the last stage.

    Cost: about three gradients a step of the later stages for each intervention and replica, on
    ``step_fraction`` of the recorded examples; with curvature ``source`` none but those of an
    EK-FAC. Stages that are not skipped run their own steps on ``fraction`` of their examples too.

    References:
        Curvature ``source``: Bae et al. (2024), arXiv 2405.12186.
    """

    curvature: CurvatureName | Literal["source"]
    curvature_examples: int
    fraction: float
    step_fraction: float
    replicas: int

    @override
    def actions(self, question: Question) -> tuple[ActionSpec, ...]:
        needed: list[ActionSpec] = []
        for replica in range(self.replicas):
            actions, ends = self._twins(question, replica=replica)
            needed += [*actions, *map(question.evaluate, ends)]
        return tuple(needed)

    @override
    def sample(self, question: Question, values: Values) -> Sample:
        ends = [self._twins(question, replica=replica)[1] for replica in range(self.replicas)]
        displaced, twins = (
            np.stack([values.per_example(question.evaluate(end)) for end in of_replicas])
            for of_replicas in zip(*ends, strict=True)
        )  # [K, N] each
        effects = twins - displaced
        first = question.stage_index
        executed = self.fraction == 1.0 or is_whole_skip(question.parts[first])
        if executed and first == len(question.log.stages) - 1:
            return Sample(effects=effects[:1], exact=True)
        return Sample(effects=effects)

    def _twins(self, question: Question, *, replica: int) -> tuple[tuple[ActionSpec, ...], Twins]:
        """Return the actions of one replica, and the final states: displaced and factual."""
        first = question.stage_index
        started, twins = displaced_start(
            question.log_digest,
            first,
            intervention=question.parts[first],
            fraction=self.fraction,
            replica=replica,
            seed=question.seed,
        )
        actions: list[ActionSpec] = list(started)
        for stage in range(first + 1, len(question.log.stages)):
            carry, twins = carry_twins(
                question.log_digest,
                stage,
                twins,
                curvature=self.curvature,
                curvature_examples=self.curvature_examples,
                fraction=self.step_fraction,
                replica=replica,
                seed=question.seed,
            )
            actions.append(carry)
        return tuple(actions), twins


def _check(settings: CheckpointJumpSettings, log: StageLog) -> None:
    parts = {"fraction": settings.fraction, "step_fraction": settings.step_fraction}
    for name, fraction in parts.items():
        if fraction < 1:
            require_whole_batches(
                log,
                where=f"estimator.{name}",
                found=fraction,
                remedy=f"Set {name} to 1, or use auto without a budget.",
            )
    if settings.curvature != "source":
        return
    for index, stage in enumerate(log.stages[1:], start=1):
        if stage.optimizer.kind != "sgd":
            raise UnsupportedError(
                f"stages[{index}].optimizer.kind",
                expected="sgd in every later stage for curvature source: its steps follow a "
                "gradient flow",
                found=stage.optimizer.kind,
                remedy="Use curvature exact, ggn or ekfac.",
            )


CHECKPOINT_JUMP = EstimatorKind(
    settings=CheckpointJumpSettings,
    build=lambda settings: CheckpointJump(
        curvature=settings.curvature,
        curvature_examples=settings.curvature_examples,
        fraction=settings.fraction,
        step_fraction=settings.step_fraction,
        replicas=settings.replicas,
    ),
    level=2,
    averages=False,
    answers="the query where the stage's displacement is carried linearly through the others",
    cost="about 3 gradients a later step of each intervention; an EK-FAC with source",
    interval="no",
    joint=False,
    status="experimental",
    check=_check,
)
