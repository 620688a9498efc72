"""A state at the end of the run as a model file, interchangeable with the final checkpoint."""

from torch import Tensor

from auditor.dynamics.run import Run
from auditor.dynamics.state import TrainingState
from auditor.errors import InternalError


def final_tensors(run: Run, state: TrainingState) -> dict[str, Tensor]:
    """Return a final state under the names, in the dtypes and shapes of the final checkpoint.

    Parameters and floating-point buffers are those of the state; a tied name gets its owner's
    values. Buffers that are not floating point are no part of a state (a counter of batches, an
    index table) and stay as recorded.

    Args:
        run: The recorded run.
        state: A state in the layout of the last stage.

    Returns:
        One tensor for every tensor of the final checkpoint, on the CPU.
    """
    last = len(run.log.stages)
    recorded = {name: tensor.cpu() for name, tensor in run.final_tensors().items()}
    computed = {**run.layout(last - 1).unflatten(state.theta), **state.buffers}
    return {
        name: _like(tensor, name, run=run, computed=computed) for name, tensor in recorded.items()
    }


def _like(recorded: Tensor, name: str, *, run: Run, computed: dict[str, Tensor]) -> Tensor:
    """Return the computed tensor of a name as the recorded one is stored."""
    value = computed.get(run.log.parameters[name].tied_to or name)
    if value is None:
        if not recorded.is_floating_point():
            return recorded
        raise InternalError(
            f"state[{name}]",
            expected="every parameter and floating-point buffer of the final checkpoint",
            found="none",
            remedy="Report this as a bug.",
        )
    if value.shape != recorded.shape:
        raise InternalError(
            f"state[{name}]",
            expected=f"shape {list(recorded.shape)}",
            found=f"shape {list(value.shape)}",
            remedy="Report this as a bug.",
        )
    return value.to(device="cpu", dtype=recorded.dtype)
