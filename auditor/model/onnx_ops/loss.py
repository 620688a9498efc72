"""Losses as operators: graphs that end in a loss of their own."""

import torch
from torch import Tensor
from torch.nn import functional

from auditor.model.onnx_ops.call import Call, Kernel


def negative_log_likelihood(call: Call) -> Kernel:
    """Build NegativeLogLikelihoodLoss of log probabilities [N, C, *]."""
    reduce = _Reduction(call)
    return Kernel(reduce, call.present)


def softmax_cross_entropy(call: Call) -> Kernel:
    """Build SoftmaxCrossEntropyLoss of logits [N, C, *]; the log probabilities may be a result."""
    reduce = _Reduction(call)
    results = len(call.node.outputs)

    def run(
        logits: Tensor, target: Tensor, weight: Tensor | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        logs = functional.log_softmax(logits, dim=1)
        loss = reduce(logs, target, weight)
        return loss if results == 1 else (loss, logs)

    return Kernel(run, call.present, results=results)


class _Reduction:
    """Negative log probabilities of the targets, weighted and reduced.

    Args:
        call: The node, with the attributes ``ignore_index`` and ``reduction``.
    """

    def __init__(self, call: Call) -> None:
        self._ignored = (
            call.integer("ignore_index") if "ignore_index" in call.node.attributes else None
        )
        self._reduction = call.text("reduction", "mean")
        if self._reduction not in {"none", "sum", "mean"}:
            raise call.wrong("reduction none, sum or mean", self._reduction)

    def __call__(self, logs: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the loss of log probabilities [N, C, *] and targets [N, *]."""
        target = target.to(torch.int64)
        kept = None if self._ignored is None else target != self._ignored
        # An ignored target may be no class at all.
        safe = target if kept is None else torch.where(kept, target, 0)
        losses = -logs.gather(1, safe.unsqueeze(1)).squeeze(1)
        shares = torch.ones_like(losses)
        if weight is not None:
            shares = weight.index_select(0, safe.reshape(-1)).reshape(safe.shape)
        if kept is not None:
            shares = torch.where(kept, shares, 0)
        losses = losses * shares
        if self._reduction == "none":
            return losses
        return losses.sum() / shares.sum() if self._reduction == "mean" else losses.sum()
