"""``checkpoint_jump``: displace the run where the stage ended, carry that on linearly, evaluate.

The displacement of the full state at the end of the intervened stage is known; it is carried
through the later stages by the Jacobians of their recorded steps, and the query is evaluated at the
displaced final parameters, not linearised. Final buffers stay as recorded (decisions, 3 and 6).
"""

from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from typing_extensions import override

from auditor.estimators.base import Estimator, Question, Sample, Values
from auditor.plan.actions import ActionSpec
from auditor.plan.chains import is_whole_skip
from auditor.plan.curvature import CurvatureName
from auditor.plan.twins import Twins, carry_twins, displaced_start


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
