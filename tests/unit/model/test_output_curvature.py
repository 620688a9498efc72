"""Square roots of output curvature against autograd's Hessians, for every loss."""

import pytest
import torch
from torch import Tensor

from auditor.errors import UnsupportedError
from auditor.model.losses import LOSSES, per_example_loss
from auditor.model.output_curvature import curvature_root
from auditor.stagelog.log import Loss

F64 = torch.float64
GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(4, 3, generator=GENERATOR, dtype=F64)
CLASSES = torch.tensor([0, 2, 1, 2])
SOFT = torch.rand(4, 3, generator=GENERATOR, dtype=F64)
TOKENS = LOGITS.reshape(2, 2, 3)
TOKEN_CLASSES = CLASSES.reshape(2, 2)
CASES: dict[str, tuple[Loss, Tensor, Tensor]] = {
    "cross entropy": (Loss(kind="cross_entropy"), LOGITS, CLASSES),
    "smoothed": (Loss(kind="cross_entropy", label_smoothing=0.2), LOGITS, CLASSES),
    "class weights": (Loss(kind="cross_entropy", class_weights=(0.5, 2.0, 1.0)), LOGITS, CLASSES),
    "smoothed, weighted, one ignored": (
        Loss(
            kind="cross_entropy",
            class_weights=(0.5, 2.0, 1.0),
            label_smoothing=0.1,
            ignore_index=1,
        ),
        LOGITS,
        CLASSES,
    ),
    "probabilities": (Loss(kind="cross_entropy", label_smoothing=0.1), LOGITS, SOFT),
    "weighted probabilities": (
        Loss(kind="cross_entropy", class_weights=(0.5, 2.0, 1.0)),
        LOGITS,
        SOFT,
    ),
    "tokens": (Loss(kind="cross_entropy"), TOKENS, TOKEN_CLASSES),
    "tokens, summed, one ignored": (
        Loss(kind="cross_entropy", reduction="sum", ignore_index=1),
        TOKENS,
        TOKEN_CLASSES,
    ),
    "tokens, smoothed, weighted, one ignored": (
        Loss(
            kind="cross_entropy",
            class_weights=(0.5, 2.0, 1.0),
            label_smoothing=0.1,
            ignore_index=1,
        ),
        TOKENS,
        TOKEN_CLASSES,
    ),
    "probabilities of tokens": (Loss(kind="cross_entropy"), TOKENS, SOFT.reshape(2, 2, 3)),
    "binary": (Loss(kind="binary_cross_entropy_with_logits"), LOGITS, SOFT),
    "binary, summed": (
        Loss(kind="binary_cross_entropy_with_logits", reduction="sum"),
        LOGITS,
        SOFT,
    ),
    "binary, weighted": (
        Loss(kind="binary_cross_entropy_with_logits", pos_weight=(0.5, 2.0, 1.0)),
        LOGITS,
        SOFT,
    ),
    "one logit, weighted": (
        Loss(kind="binary_cross_entropy_with_logits", pos_weight=(3.0,)),
        LOGITS[:, :1],
        SOFT[:, 0],
    ),
    "causal LM, one ignored": (
        Loss(kind="causal_lm", over="tokens", ignore_index=1),
        LOGITS.reshape(1, 4, 3),
        CLASSES.reshape(1, 4),
    ),
    "one logit": (Loss(kind="binary_cross_entropy_with_logits"), LOGITS[:, :1], SOFT[:, 0]),
    "mse": (Loss(kind="mse"), LOGITS, SOFT),
    "mse, summed": (Loss(kind="mse", reduction="sum"), LOGITS, SOFT),
    "mse of a matrix": (Loss(kind="mse"), LOGITS.reshape(2, 2, 3), SOFT.reshape(2, 2, 3)),
}


@pytest.mark.parametrize("case", CASES)
def test_roots_square_to_the_hessian(case: str) -> None:
    loss, output, target = CASES[case]
    size = output[0].numel()
    basis = torch.eye(size, dtype=F64).reshape(size, 1, *output.shape[1:])

    roots = [
        curvature_root(loss, output, target, direction=d.expand_as(output)).flatten(1)
        for d in basis
    ]

    root = torch.stack(roots, dim=-1)  # [B, entries, directions]
    hessian = torch.func.hessian(lambda z: per_example_loss(loss, z, target).sum())(output)
    blocks = hessian.reshape(len(output), size, len(output), size)
    own = torch.stack([blocks[i, :, i] for i in range(len(output))])
    torch.testing.assert_close(root @ root.mT, own, rtol=1e-10, atol=1e-12)


def test_every_loss_has_a_root() -> None:
    # The margin of a pair is no output of the graph: preferences are refused.
    assert {loss.kind for loss, _, _ in CASES.values()} == set(LOSSES) - {"dpo"}


@pytest.mark.parametrize("kind", ["hinge", "dpo", "graph"])
def test_unknown_loss_is_refused(kind: str) -> None:
    with pytest.raises(UnsupportedError, match="curvature ggn"):
        curvature_root(Loss(kind=kind), LOGITS, CLASSES, direction=LOGITS)
