"""A square root of each example's loss curvature by the output, in closed form."""

from math import sqrt

import torch
from torch import Tensor
from torch.nn import functional

from auditor.errors import UnsupportedError
from auditor.model.losses import target_weight
from auditor.stagelog.log import Loss


def curvature_root(loss: Loss, output: Tensor, target: Tensor, *, direction: Tensor) -> Tensor:
    r"""Return S d, [B, ...], for each example's :math:`S S^T = \partial^2 l / \partial z^2`.

    - cross entropy: :math:`S d = \sqrt{\kappa} (\sqrt{p} \odot d - p\, (\sqrt{p} \cdot d))`, where
      p are the probabilities and kappa is the target's weight (over n where n positions of an
      example are averaged), so that :math:`S S^T = \kappa (\operatorname{diag} p - p p^T)`;
    - causal language model: that of cross entropy, of the tokens that are predicted;
    - binary cross entropy: :math:`\sqrt{w p (1 - p) / n}\, d` for n entries that are averaged;
      w = 1 + (weight of positives - 1) target;
    - squared error: :math:`\sqrt{2 / n}\, d`.

    Summed over an orthonormal basis of d it is exact; over random d with mean square 1 unbiased.

    Args:
        loss: Kind and options.
        output: z, [B, ...].
        target: As for the loss, [B, ...].
        direction: d, in the shape of the output.

    Raises:
        UnsupportedError: If the kind of loss has no entry here.

    References:
        Martens (2020), arXiv 1412.1193, section 9; checked against autograd's Hessians of all
        losses in unit/model/test_output_curvature.py.
    """
    match loss.kind:
        case "cross_entropy":
            p = functional.softmax(output, dim=-1)  # [B, ..., C]
            root = p.sqrt()
            centred = root * direction - p * (root * direction).sum(dim=-1, keepdim=True)
            positions = _averaged(loss, output[..., 0])  # of a class each, such as tokens
            weight = _smoothed_weight(loss, output, target) / positions  # [B, ...]
            return centred * weight.sqrt().unsqueeze(-1)
        case "causal_lm":
            ahead = loss.model_copy(update={"kind": "cross_entropy"})
            root = curvature_root(
                ahead, output[..., :-1, :], target[..., 1:], direction=direction[..., :-1, :]
            )
            return functional.pad(root, (0, 0, 0, 1))  # the last token predicts nothing
        case "binary_cross_entropy_with_logits":
            p = torch.sigmoid(output)
            spread = p * (1 - p) / _averaged(loss, output)
            if loss.pos_weight is not None:
                positive = target.to(output).reshape(output.shape)
                spread = spread * (1 + (output.new_tensor(loss.pos_weight) - 1) * positive)
            return spread.sqrt() * direction
        case "mse":
            return direction * sqrt(2 / _averaged(loss, output))
        case _:
            raise UnsupportedError(
                "loss.kind",
                expected="cross_entropy, causal_lm, binary_cross_entropy_with_logits or mse",
                found=loss.kind,
                remedy="Use curvature ggn, exact or none for this loss.",
            )


def _smoothed_weight(loss: Loss, output: Tensor, target: Tensor) -> Tensor:
    """Return the sum over classes of the smoothed, weighted target, [B, ...]; 0 where ignored."""
    smoothing = loss.label_smoothing
    weights = output.new_ones(output.shape[-1:])  # [C]
    if loss.class_weights is not None:
        weights = output.new_tensor(loss.class_weights)
    if target.is_floating_point():
        smoothed = target * (1 - smoothing) + smoothing / output.shape[-1]
        return (smoothed * weights).sum(dim=-1)
    own = target_weight(loss, output, target)
    if not smoothing:
        return own
    kept = torch.ones_like(own) if loss.ignore_index is None else (target != loss.ignore_index)
    return (1 - smoothing) * own + smoothing * weights.mean() * kept


def _averaged(loss: Loss, output: Tensor) -> int:
    """Return how many entries of one example are averaged."""
    return output[0].numel() if loss.reduction == "mean" else 1
