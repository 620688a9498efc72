import pytest
import torch
from torch import Tensor
from torch.nn import functional

from auditor.errors import DomainError, ShapeError, UnsupportedError
from auditor.model.losses import (
    mean_weight,
    per_example_loss,
    require_classes,
    require_known_loss,
)
from auditor.stagelog.log import Loss

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(6, 4, generator=GENERATOR, dtype=torch.float64)
CLASSES = torch.tensor([0, 3, 1, 2, 3, 3])
WEIGHTS = (0.5, 1.0, 2.0, 0.25)

CROSS_ENTROPIES = {
    "plain": {},
    "smoothed": {"label_smoothing": 0.2},
    "weighted": {"class_weights": WEIGHTS},
    "ignoring": {"ignore_index": 3},
    "everything": {"label_smoothing": 0.1, "class_weights": WEIGHTS, "ignore_index": 3},
}


def torch_cross_entropy(target: Tensor, options: dict[str, object], *, reduction: str) -> Tensor:
    weights = options.get("class_weights")
    return functional.cross_entropy(
        LOGITS,
        target,
        weight=None if weights is None else torch.tensor(weights, dtype=torch.float64),
        label_smoothing=options.get("label_smoothing", 0.0),
        ignore_index=options.get("ignore_index", -100),
        reduction=reduction,
    )


@pytest.mark.parametrize("options", CROSS_ENTROPIES.values(), ids=CROSS_ENTROPIES.keys())
def test_cross_entropy_equals_torch(options: dict[str, object]) -> None:
    loss = Loss(kind="cross_entropy", **options)

    torch.testing.assert_close(
        per_example_loss(loss, LOGITS, CLASSES),
        torch_cross_entropy(CLASSES, options, reduction="none"),
    )


@pytest.mark.parametrize("options", CROSS_ENTROPIES.values(), ids=CROSS_ENTROPIES.keys())
def test_mean_weights_give_torch_mean(options: dict[str, object]) -> None:
    loss = Loss(kind="cross_entropy", **options)

    ours = per_example_loss(loss, LOGITS, CLASSES).sum() / mean_weight(loss, CLASSES).sum()

    torch.testing.assert_close(ours, torch_cross_entropy(CLASSES, options, reduction="mean"))


@pytest.mark.parametrize("name", ["plain", "smoothed", "weighted"])
def test_cross_entropy_of_probabilities_equals_torch(name: str) -> None:
    target = functional.softmax(LOGITS.flip(0), dim=-1)
    loss = Loss(kind="cross_entropy", **CROSS_ENTROPIES[name])

    torch.testing.assert_close(
        per_example_loss(loss, LOGITS, target),
        torch_cross_entropy(target, CROSS_ENTROPIES[name], reduction="none"),
    )


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_entries_of_an_example_are_reduced_as_torch_does(reduction: str) -> None:
    target = (LOGITS.flip(0) > 0).to(torch.float64)
    size = 6 if reduction == "mean" else 1
    pairs = {
        "mse": functional.mse_loss,
        "binary_cross_entropy_with_logits": functional.binary_cross_entropy_with_logits,
    }

    ours = [
        per_example_loss(Loss(kind=kind, reduction=reduction), LOGITS, target).sum() / size
        for kind in pairs
    ]

    expected = [function(LOGITS, target, reduction=reduction) for function in pairs.values()]
    torch.testing.assert_close(ours, expected)


def test_one_output_fits_a_target_without_axis() -> None:
    loss = Loss(kind="binary_cross_entropy_with_logits")
    target = torch.tensor([0, 1, 1, 0, 1, 0])

    ours = per_example_loss(loss, LOGITS[:, :1], target)

    expected = functional.binary_cross_entropy_with_logits(
        LOGITS[:, 0], target.double(), reduction="none"
    )
    torch.testing.assert_close(ours, expected)


def test_binary_cross_entropy_is_finite_and_smooth_at_extremes() -> None:
    loss = Loss(kind="binary_cross_entropy_with_logits")
    output = torch.tensor([-800.0, 0.0, 800.0], dtype=torch.float64)
    target = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)

    gradient = torch.func.grad(lambda x: per_example_loss(loss, x, target).sum())(output)

    torch.testing.assert_close(gradient, torch.sigmoid(output) - target)


@pytest.mark.parametrize("kind", ["ppo", "hinge"])
def test_unknown_loss_is_refused_by_name(kind: str) -> None:
    with pytest.raises(UnsupportedError, match=rf"loss.kind: .*cross_entropy.*found {kind}"):
        require_known_loss(Loss(kind=kind))


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "mse", "label_smoothing": 0.1},
        {"kind": "mse", "class_weights": (1.0, 2.0)},
        {"kind": "binary_cross_entropy_with_logits", "ignore_index": 0},
        {"kind": "mse", "over": "tokens"},
        {"kind": "mse", "beta": 0.1},
        {"kind": "cross_entropy", "pos_weight": (1.0,)},
    ],
)
def test_options_that_have_no_meaning_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UnsupportedError):
        per_example_loss(Loss(**options), LOGITS, CLASSES)


TOKEN_LOGITS = LOGITS.reshape(3, 2, 4)
TOKEN_CLASSES = CLASSES.reshape(3, 2)


@pytest.mark.parametrize("options", CROSS_ENTROPIES.values(), ids=CROSS_ENTROPIES.keys())
def test_tokens_of_an_example_are_added_as_torch_does(options: dict[str, object]) -> None:
    loss = Loss(kind="cross_entropy", reduction="sum", **options)

    ours = per_example_loss(loss, TOKEN_LOGITS, TOKEN_CLASSES)

    every = torch_cross_entropy(CLASSES, options, reduction="none")
    torch.testing.assert_close(ours, every.reshape(3, 2).sum(dim=1))


@pytest.mark.parametrize("options", CROSS_ENTROPIES.values(), ids=CROSS_ENTROPIES.keys())
def test_mean_weights_of_tokens_give_torch_mean_over_tokens(options: dict[str, object]) -> None:
    loss = Loss(kind="cross_entropy", **options)

    losses = per_example_loss(loss, TOKEN_LOGITS, TOKEN_CLASSES)
    ours = losses.sum() / mean_weight(loss, TOKEN_CLASSES).sum()

    torch.testing.assert_close(ours, torch_cross_entropy(CLASSES, options, reduction="mean"))


def test_class_per_example_does_not_fit_logits_per_token() -> None:
    with pytest.raises(ShapeError, match=r"loss\.target"):
        per_example_loss(Loss(kind="cross_entropy"), TOKEN_LOGITS, CLASSES[:3])


def test_output_without_classes_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"logits \[B, C\]"):
        per_example_loss(Loss(kind="cross_entropy"), LOGITS[:, 0], CLASSES)


def test_target_of_another_length_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"loss\.target"):
        per_example_loss(Loss(kind="cross_entropy"), LOGITS, CLASSES[:5])


def test_class_out_of_range_is_named() -> None:
    loss = Loss(kind="cross_entropy", ignore_index=3)

    with pytest.raises(DomainError, match=r"labels\[2\]: expected a class from 0 to 1, found 7"):
        require_classes(loss, torch.tensor([0, 3, 7]), classes=2, where="labels")
