"""Direct preference optimisation: what a pair of texts says about a model and its reference."""

import torch
from torch import Tensor
from torch.nn import functional

from auditor.errors import ShapeError
from auditor.stagelog.log import Loss

REFERENCE = "reference"
"""Where a training state and the buffers of a forward pass hold the reference's theta, [P]."""


def text_log_probability(logits: Tensor, labels: Tensor, *, ignore_index: int | None) -> Tensor:
    """Return the log-probability of each text's labels, added over its tokens, [...].

    A token is predicted by the logits before it; the first one is not predicted.

    Args:
        logits: [..., T, V].
        labels: [..., T].
        ignore_index: Label of the tokens that are left out, such as those of the prompt.
    """
    own = labels[..., 1:]
    kept = torch.ones_like(own, dtype=torch.bool) if ignore_index is None else own != ignore_index
    index = torch.where(kept, own, 0).long().unsqueeze(-1)
    chosen = functional.log_softmax(logits[..., :-1, :], dim=-1).gather(-1, index).squeeze(-1)
    return torch.where(kept, chosen, 0).sum(dim=-1)


def preference_loss(loss: Loss, margin: Tensor) -> Tensor:
    r"""Return the loss of each pair, [B], convex in its margin.

    .. math:: l = -(1 - s) \log \sigma(\beta h) - s \log \sigma(-\beta h), \qquad
        h = \log \frac{\pi(y_w)}{\pi_{ref}(y_w)} - \log \frac{\pi(y_l)}{\pi_{ref}(y_l)}

    Args:
        loss: With beta, and label smoothing s: the part of preferences that is the other way round.
        margin: h, [B].

    References:
        Rafailov et al. (2023), arXiv 2305.18290; with s conservative DPO (Mitchell, 2023), as in
        TRL's ``loss_type="sigmoid"``.
    """
    beta, smoothing = loss.beta or 0.0, loss.label_smoothing
    losses = -functional.logsigmoid(beta * margin)
    if not smoothing:
        return losses
    return (1 - smoothing) * losses - smoothing * functional.logsigmoid(-beta * margin)


def pairs_as_texts(inputs: tuple[Tensor, ...], labels: Tensor) -> tuple[Tensor, ...]:
    """Return graph inputs of pairs, [B, 2, ...], as those of texts, [2 B, ...].

    Raises:
        ShapeError: If a column does not hold pairs.
    """
    for name, tensor in (("loss.target", labels), *(("bindings.inputs", t) for t in inputs)):
        if tensor.dim() < 2 or tensor.shape[1] != 2:
            raise ShapeError(
                name,
                expected="[B, 2, ...]: the preferred text of each pair, then the other one",
                found=f"shape {tuple(tensor.shape)}",
                remedy="Record both texts of a pair as one example of shape [2, tokens].",
            )
    return tuple(tensor.flatten(0, 1) for tensor in inputs)


def pair_margin(log_probabilities: Tensor, reference: Tensor) -> Tensor:
    """Return h of each pair, [B], from log-probabilities of its texts, [B, 2] each."""
    ratio = log_probabilities - reference
    return ratio[:, 0] - ratio[:, 1]
