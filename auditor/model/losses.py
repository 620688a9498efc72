"""Per-example losses by the names that a stage log uses."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from auditor.checks import require_shape
from auditor.errors import DomainError, ShapeError, UnsupportedError
from auditor.model.preferences import preference_loss
from auditor.stagelog.log import Loss
from auditor.stagelog.reduction import TOKEN_LOSSES
from auditor.stagelog.rules_losses import foreign_options


def per_example_loss(loss: Loss, output: Tensor, target: Tensor) -> Tensor:
    r"""Return the loss l_i of each example, [B], in nats for the entropies.

    ``sum_i l_i / B`` (reduction ``mean``) or ``sum_i l_i`` (``sum``) is what the torch loss of
    the same name and reduction gives. Two exceptions, where torch's ``mean`` divides by something
    else than B: with class weights or ignored examples it divides by :func:`mean_weight`.

    - ``cross_entropy``: class targets [B] or class probabilities [B, C] for logits [B, C];
      label smoothing, class weights and ``ignore_index`` as in torch. Logits [B, ..., C] with a
      class [B, ...] for every position of an example (the tokens of a text) are averaged (``mean``)
      or added (``sum``) over the positions: torch has the classes on axis 1 there, here they are
      last, as a language model returns them.
    - ``causal_lm``: the same of tokens [B, T] by the logits before them, as Hugging Face's
      models: the first token is not predicted.
    - ``dpo``: of the margins of pairs, [B]; see :mod:`auditor.model.preferences`.
    - ``binary_cross_entropy_with_logits`` (``pos_weight`` as in torch) and ``mse``: target of the
      output's shape; entries of one example are averaged (``mean``) or added (``sum``). An output
      [B, 1] fits a target [B].

    Differentiable any number of times, forward and backward, and safe inside ``vmap``. Class
    targets are not checked here, where they may be traced: see :func:`require_classes`.

    Args:
        loss: Kind and options.
        output: The graph's output, [B, ...].
        target: Classes, probabilities or values, [B, ...].

    Raises:
        UnsupportedError: If the kind or one of its options is not treated.
        ShapeError: If output and target do not fit each other.
    """
    return _loss_function(loss)(loss, output, target)


def mean_weight(loss: Loss, target: Tensor) -> Tensor:
    """Return what each example adds to the divisor of torch's mean loss, [B] float64.

    The class weight of its target (1 without weights), and 0 for an ignored example; of an example
    with several positions their average, as the losses of its positions are averaged.
    """
    if loss.kind not in TOKEN_LOSSES or target.is_floating_point():
        return torch.ones(target.shape[:1], dtype=torch.float64)
    if loss.kind == "causal_lm":
        target = target[..., 1:]
    kept = _kept(loss, target)
    weight = torch.ones(target.shape, dtype=torch.float64, device=target.device)
    if loss.class_weights is not None:
        classes = weight.new_tensor(loss.class_weights)
        weight = classes[torch.where(kept, target, 0).long()]
    return _over_positions(torch.where(kept, weight, 0), reduction="mean").cpu()


def target_weight(loss: Loss, output: Tensor, target: Tensor) -> Tensor:
    """Return the class weight of every target of a cross entropy, [B, ...]; 0 where ignored."""
    kept = _kept(loss, target)
    weight = output.new_ones(target.shape)
    classes = _class_weights(loss, output)
    if classes is not None:
        weight = classes[torch.where(kept, target, 0).long()]
    return torch.where(kept, weight, 0)


def require_classes(loss: Loss, target: Tensor, *, classes: int, where: str) -> None:
    """Refuse class targets that are no index below ``classes`` (nor ``ignore_index``).

    Raises:
        DomainError: If one is out of range; the first is named.
    """
    if loss.kind not in TOKEN_LOSSES or target.is_floating_point():
        return
    wrong = _kept(loss, target) & ((target < 0) | (target >= classes))
    if bool(wrong.any()):
        first = wrong.nonzero()[0].tolist()
        raise DomainError(
            f"{where}{first}",
            expected=f"a class from 0 to {classes - 1}",
            found=int(target[tuple(first)]),
            remedy="Check the target column and the number of outputs of the model.",
        )


def require_known_loss(loss: Loss) -> None:
    """Refuse a loss that :func:`per_example_loss` would refuse whatever the shapes.

    Raises:
        UnsupportedError: If the kind or one of its options is not treated.
    """
    _loss_function(loss)


def _loss_function(loss: Loss) -> Callable[[Loss, Tensor, Tensor], Tensor]:
    if loss.kind not in LOSSES:
        raise UnsupportedError(
            "loss.kind",
            expected="one of " + ", ".join(LOSSES),
            found=loss.kind,
            remedy="Use a release that treats this loss, or record one of the named losses.",
        )
    if loss.over == "tokens" and loss.kind not in TOKEN_LOSSES:
        raise UnsupportedError(
            "loss.over",
            expected="'examples'",
            found=loss.over,
            remedy="Use causal_lm, or cross_entropy with a class for every token.",
        )
    foreign = foreign_options(loss)
    if foreign:
        raise UnsupportedError(
            f"loss.{foreign[0]}",
            expected=f"{loss.kind} without it",
            found=getattr(loss, foreign[0]),
            remedy="Leave it out: it has no meaning for this loss.",
        )
    return LOSSES[loss.kind]


def _cross_entropy(loss: Loss, output: Tensor, target: Tensor) -> Tensor:
    if output.dim() < 2:
        raise ShapeError(
            "loss.output",
            expected="logits [B, C], or [B, ..., C] with a class for each position",
            found=f"shape {tuple(output.shape)}",
            remedy="Bind the graph output that holds logits per example, classes on the last axis.",
        )
    log_probabilities = functional.log_softmax(output, dim=-1)  # [B, ..., C]
    if target.is_floating_point():
        return _over_positions(
            _soft_cross_entropy(loss, log_probabilities, target), reduction=loss.reduction
        )
    require_shape("loss.target", target, output.shape[:-1])
    kept = _kept(loss, target)
    index = torch.where(kept, target, 0).long() if loss.ignore_index is not None else target.long()
    chosen = log_probabilities.gather(-1, index.unsqueeze(-1)).squeeze(-1)  # [B, ...]
    others = log_probabilities
    weights = _class_weights(loss, output)
    if weights is not None:
        chosen = chosen * weights[index]
        others = others * weights
    losses = -chosen
    if loss.label_smoothing:
        smooth = -others.mean(dim=-1)
        losses = (1 - loss.label_smoothing) * losses + loss.label_smoothing * smooth
    losses = losses if loss.ignore_index is None else torch.where(kept, losses, 0)
    return _over_positions(losses, reduction=loss.reduction)


def _soft_cross_entropy(loss: Loss, log_probabilities: Tensor, target: Tensor) -> Tensor:
    require_shape("loss.target", target, log_probabilities.shape)
    if loss.ignore_index is not None:
        raise UnsupportedError(
            "loss.ignore_index",
            expected="none with class probabilities as target",
            found=loss.ignore_index,
            remedy="Give class indices as target, or leave ignore_index out.",
        )
    classes = log_probabilities.shape[-1]
    smoothed = target * (1 - loss.label_smoothing) + loss.label_smoothing / classes
    weights = _class_weights(loss, log_probabilities)
    if weights is not None:
        smoothed = smoothed * weights
    return -(smoothed * log_probabilities).sum(dim=-1)


def _causal_lm(loss: Loss, output: Tensor, target: Tensor) -> Tensor:
    if output.dim() < 3:
        raise ShapeError(
            "loss.output",
            expected="logits [B, T, V]",
            found=f"shape {tuple(output.shape)}",
            remedy="Bind the graph output that holds logits for every token.",
        )
    return _cross_entropy(loss, output[..., :-1, :], target[..., 1:])


def _dpo(loss: Loss, output: Tensor, _target: Tensor) -> Tensor:
    return preference_loss(loss, output)


def _binary_cross_entropy(loss: Loss, output: Tensor, target: Tensor) -> Tensor:
    output, target = _aligned(output, target)
    if loss.pos_weight is not None:
        weight = output.new_tensor(loss.pos_weight)
        # (1 - y) x + (1 + (p - 1) y) softplus(-x), as torch writes it.
        entries = (1 - target) * output + (1 + (weight - 1) * target) * functional.softplus(-output)
        return _over_positions(entries, reduction=loss.reduction)
    # max(x, 0) - x y + log(1 + exp(-|x|)) without the kink of |x|: softplus is smooth at 0.
    entries = functional.softplus(output) - output * target
    return _over_positions(entries, reduction=loss.reduction)


def _mean_squared_error(loss: Loss, output: Tensor, target: Tensor) -> Tensor:
    output, target = _aligned(output, target)
    return _over_positions((output - target).square(), reduction=loss.reduction)


def _aligned(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    if output.dim() == target.dim() + 1 and output.shape[-1] == 1:
        output = output.squeeze(-1)
    require_shape("loss.target", target, output.shape)
    return output, target.to(output.dtype)


def _over_positions(values: Tensor, *, reduction: Literal["mean", "sum"]) -> Tensor:
    if values.dim() == 1:
        return values
    flat = values.flatten(1)
    return flat.mean(dim=-1) if reduction == "mean" else flat.sum(dim=-1)


def _kept(loss: Loss, target: Tensor) -> Tensor:
    if loss.ignore_index is None:
        return torch.ones_like(target, dtype=torch.bool)
    return target != loss.ignore_index


def _class_weights(loss: Loss, output: Tensor) -> Tensor | None:
    if loss.class_weights is None:
        return None
    weights = output.new_tensor(loss.class_weights)
    require_shape("loss.class_weights", weights, output.shape[-1:])
    return weights  # [C]


LOSSES: dict[str, Callable[[Loss, Tensor, Tensor], Tensor]] = {
    "cross_entropy": _cross_entropy,
    "binary_cross_entropy_with_logits": _binary_cross_entropy,
    "mse": _mean_squared_error,
    "causal_lm": _causal_lm,
    "dpo": _dpo,
}
"""Every loss this version treats, by the name in the stage log."""
