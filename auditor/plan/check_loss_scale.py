"""Did a gradient scaler train a stage? Not every estimator follows one."""

from auditor.errors import UnsupportedError
from auditor.stagelog.log import Stage


def require_no_scaler(stage: Stage) -> None:
    """Refuse a stage of a gradient scaler, where gradients are taken without its scales.

    Raises:
        UnsupportedError: Naming the stage.
    """
    if stage.loss_scale is not None:
        raise UnsupportedError(
            f"stages[{stage.name}].loss_scale",
            expected="a stage without a gradient scaler",
            found=f"the scales of one, for {stage.precision}",
            remedy="Use retrain, subsampled_replay, aa_score with another curvature than ekfac, "
            "checkpoint_delta or task_vector: without the scales small gradients would vanish.",
        )
