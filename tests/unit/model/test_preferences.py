"""Preferences: log-probabilities of texts, the loss of a margin, columns that hold pairs."""

import pytest
import torch
from torch.nn import functional

from auditor.errors import ShapeError
from auditor.model.preferences import pairs_as_texts, preference_loss, text_log_probability
from auditor.stagelog.log import Loss

LOGITS = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = torch.tensor([[-100, 3, 1, 6, -100], [2, 2, 0, 5, 4]])


def test_a_text_is_predicted_from_its_second_token_on() -> None:
    ours = text_log_probability(LOGITS, LABELS, ignore_index=-100)

    losses = functional.cross_entropy(
        LOGITS[:, :-1].transpose(1, 2), LABELS[:, 1:], ignore_index=-100, reduction="none"
    )
    torch.testing.assert_close(ours, -losses.sum(1))


def test_every_token_counts_where_none_is_ignored() -> None:
    labels = LABELS.clamp_min(0)

    ours = text_log_probability(LOGITS, labels, ignore_index=None)

    losses = functional.cross_entropy(
        LOGITS[:, :-1].transpose(1, 2), labels[:, 1:], reduction="none"
    )
    torch.testing.assert_close(ours, -losses.sum(1))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_loss_of_margins_is_that_of_preferences_with_some_the_other_way_round(
    smoothing: float,
) -> None:
    loss = Loss(kind="dpo", beta=0.5, label_smoothing=smoothing, reference="fixed")
    margin = torch.tensor([-40.0, -1.0, 0.0, 2.0, 900.0], dtype=torch.float64)

    ours = preference_loss(loss, margin)

    target = torch.full_like(margin, 1 - smoothing)
    expected = functional.binary_cross_entropy_with_logits(0.5 * margin, target, reduction="none")
    torch.testing.assert_close(ours, expected)


def test_a_column_that_holds_no_pairs_is_refused() -> None:
    pair, single = torch.zeros(4, 2, 3), torch.zeros(4, 3)

    (texts,) = pairs_as_texts((pair,), pair)

    assert texts.shape == (8, 3)
    for inputs, labels in (((single,), pair), ((pair,), single)):
        with pytest.raises(ShapeError, match="preferred"):
            pairs_as_texts(inputs, labels)
