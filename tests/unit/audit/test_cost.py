"""What actions cost: counted per stage, an EK-FAC once, outputs of few entries in full."""

import pytest

from auditor.audit import cost
from auditor.audit.cost import gradient_examples
from auditor.curvature import sample
from auditor.plan.actions import CoarseAdvance, FlowStage, JumpStage, Recorded, SettleStage
from auditor.plan.curvature import SampledCurvature
from tests.support.builders import CLASSES, make_stage_log

STAGES, STEPS, BATCH = 3, 6, 8
EXAMPLES = STEPS * BATCH
LOG = make_stage_log(stages=STAGES, steps=STEPS, batch=BATCH)
EKFAC = SampledCurvature(examples=16, seed=0)
START = Recorded(boundary=1)


def jump(curvature: object, *, stage: int = 1) -> JumpStage:
    return JumpStage(log=LOG.digest, stage=stage, start=START, origin=START, curvature=curvature)


def coarse(*, replica: int, curvature: object = "none") -> CoarseAdvance:
    return CoarseAdvance(
        log=LOG.digest,
        stage=1,
        start=START,
        intervention=None,
        block_steps=3,
        fraction=0.25,
        curvature=curvature,
        replica=replica,
        seed=0,
    )


@pytest.mark.parametrize(("curvature", "gradients"), [("exact", 3), ("ggn", 3), ("none", 1)])
def test_jump_costs_a_gradient_and_a_product_a_step(curvature: str, gradients: int) -> None:
    assert gradient_examples([jump(curvature)], LOG.log) == gradients * EXAMPLES


def test_ekfac_is_counted_once_for_all_that_share_it() -> None:
    ekfac = 2 * CLASSES * EKFAC.examples
    flow = FlowStage(log=LOG.digest, stage=1, start=START, origin=START, curvature=EKFAC)

    assert gradient_examples([flow], LOG.log) == ekfac
    assert gradient_examples([flow, flow, jump(EKFAC)], LOG.log) == ekfac + EXAMPLES
    assert gradient_examples([jump(EKFAC), jump(EKFAC, stage=2)], LOG.log) == 2 * (ekfac + EXAMPLES)
    lanes = [coarse(replica=replica, curvature=EKFAC) for replica in range(3)]
    assert gradient_examples(lanes, LOG.log) == ekfac + 3 * EXAMPLES // 4


def test_coarse_and_settled_stages_cost_what_they_run() -> None:
    tail = SettleStage(
        log=LOG.digest,
        stage=1,
        start=START,
        origin=START,
        tail=0.5,
        fraction=0.25,
        replica=0,
        seed=0,
    )

    assert gradient_examples([coarse(replica=0)], LOG.log) == EXAMPLES // 4
    assert gradient_examples([tail], LOG.log) == STEPS // 2 * BATCH // 4


def test_outputs_are_counted_as_they_are_computed() -> None:
    assert cost.EXACT_OUTPUTS == sample.EXACT_OUTPUTS
