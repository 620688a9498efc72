"""Does a stage release the moving average of its parameters? Not every estimator follows one."""

from collections.abc import Iterable

from auditor.errors import UnsupportedError
from auditor.stagelog.log import Stage


def require_no_average(stages: Iterable[Stage]) -> None:
    """Refuse stages that release an average, where what follows is no product of step Jacobians.

    Raises:
        UnsupportedError: Naming the stage.
    """
    for stage in stages:
        if stage.ema_decay is not None:
            raise UnsupportedError(
                f"stages[{stage.name}].ema_decay",
                expected="parameters that the optimizer's steps end with",
                found=f"their moving average, with decay {stage.ema_decay}",
                remedy="Use retrain, subsampled_replay, checkpoint_delta or task_vector.",
            )
