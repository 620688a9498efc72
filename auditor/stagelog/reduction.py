"""What a mean loss is divided by: the examples of a step, or the weights of their targets."""

from auditor.stagelog.log import Loss

TOKEN_LOSSES = frozenset({"cross_entropy", "causal_lm"})
"""Kinds of loss whose targets may be ignored or weighted, each on its own."""
IGNORED_LABEL = -100
"""What torch and Hugging Face write where a token has no target."""
DPO_BETA = 0.1


def divides_by_targets(loss: Loss) -> bool:
    """Say whether a step's loss is divided by the sum of its targets' weights.

    So does torch's mean with class weights or ignored targets, and a mean over tokens: the loss
    of a step is a ratio of two sums over its examples, not a mean of their losses.
    """
    uneven = loss.over == "tokens" or loss.class_weights is not None
    uneven = uneven or loss.ignore_index is not None
    return loss.kind in TOKEN_LOSSES and loss.reduction == "mean" and uneven


def declared_loss(kind: str) -> Loss:
    """Return the loss that its kind alone stands for, as the libraries define it.

    ``causal_lm`` is the mean over the tokens of a batch that have a label, -100 being none;
    ``dpo`` compares with the model that the stage started from, at beta 0.1.
    """
    match kind:
        case "causal_lm":
            return Loss(kind=kind, over="tokens", ignore_index=IGNORED_LABEL)
        case "dpo":
            return Loss(
                kind=kind, beta=DPO_BETA, ignore_index=IGNORED_LABEL, reference="stage_start"
            )
        case _:
            return Loss(kind=kind)
