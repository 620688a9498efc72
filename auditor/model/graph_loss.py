"""A user's own loss: an ONNX graph without parameters, from output and target to each example."""

from torch import Tensor

from auditor.errors import InputError, ShapeError
from auditor.model.onnx_model import OnnxModel

LOSS_INPUTS = 2


def require_loss_graph(model: OnnxModel, *, where: str) -> None:
    """Refuse a graph that is no function from output and target to one loss.

    Raises:
        InputError: If it has parameters, buffers, or other inputs and outputs.
    """
    found = (len(model.inputs), len(model.outputs), len(model.params))
    if found != (LOSS_INPUTS, 1, 0):
        raise InputError(
            where,
            expected="2 inputs (output, target), 1 output (a loss for each example), no parameters",
            found=f"{found[0]} inputs, {found[1]} outputs, {found[2]} parameters",
            remedy="Export a module without parameters whose forward takes (output, target) and "
            "returns the losses, [B].",
        )


def graph_loss(model: OnnxModel, output: Tensor, target: Tensor) -> Tensor:
    """Return the loss of each example, [B].

    Args:
        model: A graph that :func:`require_loss_graph` accepted.
        output: The bound output of the stage's graph, [B, ...].
        target: The target column, [B, ...].

    Raises:
        ShapeError: If it gives anything but one number for each example.
    """
    plan = model.specialise(
        (tuple(output.shape), tuple(target.shape)), mode="eval", device=output.device
    )
    losses = plan({}, {}, output, target).values[0]
    if losses.shape != output.shape[:1]:
        raise ShapeError(
            "loss.graph",
            expected=f"a loss for each example, [{output.shape[0]}]",
            found=f"shape {tuple(losses.shape)}",
            remedy="Leave the mean over examples out of the graph: the log says how it is taken.",
        )
    return losses
