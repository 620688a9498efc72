"""The moving average of a model's parameters, as a training loop keeps it beside the model."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from auditor.errors import StageLogError, UnsupportedError

WRAPPER = "module."
"""What ``torch.optim.swa_utils.AveragedModel`` puts before the names of the model's parameters."""


EQUAL = "get_swa_"
"""How the functions of torch begin that average with equal weights."""


def refuse_equal(average: nn.Module | None, *, stage: str) -> None:
    """Refuse an average with equal weights, of states that the loop chooses.

    Raises:
        UnsupportedError: If it is one of torch's.
    """
    if not isinstance(average, AveragedModel):
        return
    function = average.multi_avg_fn or average.avg_fn
    if function is None or getattr(function, "__qualname__", "").startswith(EQUAL):
        raise UnsupportedError(
            f"stage {stage!r}: ema",
            expected="an exponential moving average, updated after every step",
            found="an average with equal weights (SWA)",
            remedy="Use AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay)); or declare "
            "no ema, and audit the weights that the optimizer updates.",
        )


def average_values(average: nn.Module, model: nn.Module, *, stage: str) -> dict[str, Tensor]:
    """Return the average of every trained parameter by the model's name for it.

    Raises:
        StageLogError: If the two modules have other parameters.
    """
    found = {
        name.removeprefix(WRAPPER): value.detach() for name, value in average.named_parameters()
    }
    wanted = dict(model.named_parameters())
    wrong = sorted(
        name
        for name in found.keys() | wanted.keys()
        if name not in found or name not in wanted or found[name].shape != wanted[name].shape
    )
    if wrong:
        raise StageLogError(
            f"stage {stage!r}: ema",
            expected="a module with the parameters of the model",
            found=f"another {wrong[0]}",
            remedy="Pass AveragedModel(model), or a copy of the model that is averaged.",
        )
    return found


def after_update(
    average: Mapping[str, Tensor], parameters: Mapping[str, Tensor], *, kept: float
) -> dict[str, Tensor]:
    """Return what the average becomes by the update that follows a step, as slots.

    Args:
        average: Before the update.
        parameters: After the step.
        kept: Part of the average that is kept; 0 where it starts with this step.
    """
    return {
        f"average/{name}": torch.lerp(value.to(parameters[name]), parameters[name], 1 - kept)
        for name, value in average.items()
    }


def require_released(
    average: Mapping[str, Tensor], parameters: Mapping[str, Tensor], *, stage: str
) -> None:
    """Refuse a stage whose model does not end as the average that is declared.

    Raises:
        StageLogError: If a parameter differs.
    """
    for name, value in average.items():
        if not torch.equal(value.to(parameters[name]), parameters[name]):
            raise StageLogError(
                f"stage {stage!r}",
                expected="a model that holds the moving average when the stage ends",
                found=f"another {name}",
                remedy="Copy the average into the model as the last thing inside the `with` block; "
                "or declare no ema, if the model goes on with the optimizer's parameters.",
            )
