"""Queries of a whole evaluation set against scikit-learn, on logits of a model's form."""

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score

from auditor.effects import Query
from auditor.model.aggregates import metric_of, statistics_of
from auditor.model.queries import query_values

DRAW = np.random.default_rng(7)
LOGITS = torch.from_numpy(DRAW.normal(size=(80, 4)).round(1))  # rounded: ties
TARGET = torch.from_numpy(DRAW.integers(0, 4, 80))
BINARY = torch.from_numpy(DRAW.integers(0, 2, 80))


def make_query(kind: str, **changes: object) -> Query:
    return Query.model_validate({
        "name": "q",
        "kind": kind,
        "better": "higher",
        "data": "0" * 64,
        **changes,
    })


def auroc_of(query: Query, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return metric_of(query, statistics_of(query, output, target), groups=None).values


@pytest.mark.parametrize("class_", range(4))
def test_auroc_of_a_class_is_that_of_its_probability(class_: int) -> None:
    output = LOGITS + torch.from_numpy(DRAW.normal(size=(80, 4)))  # without ties

    values = auroc_of(make_query("auroc", **{"class": class_}), output, TARGET)

    score = torch.softmax(output, dim=-1)[:, class_].numpy()
    expected = roc_auc_score(TARGET.numpy() == class_, score)
    assert values.mean().item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("output", [LOGITS[:, 0], LOGITS[:, :1]], ids=["[N]", "[N, 1]"])
def test_auroc_of_log_odds_with_ties(output: torch.Tensor) -> None:
    values = auroc_of(make_query("auroc"), output, BINARY)

    expected = roc_auc_score(BINARY.numpy(), LOGITS[:, 0].numpy())
    assert values.mean().item() == pytest.approx(expected, abs=1e-12)
    assert len(np.unique(LOGITS[:, 0].numpy())) < 80


def test_auroc_of_class_0_is_that_of_class_1_turned_round() -> None:
    both = [
        auroc_of(make_query("auroc", **{"class": c}), LOGITS[:, 0], BINARY).mean().item()
        for c in (0, 1)
    ]

    assert both[0] == pytest.approx(both[1], abs=1e-12)


def test_jackknife_of_the_area_is_delongs_to_first_order() -> None:
    values = auroc_of(make_query("auroc"), LOGITS[:, 0], BINARY).numpy()

    score, positive = LOGITS[:, 0].numpy(), BINARY.numpy() == 1
    above, below = score[positive], score[~positive]
    wins = (above[:, None] > below) + 0.5 * (above[:, None] == below)
    delong = wins.mean(1).var(ddof=1) / len(above) + wins.mean(0).var(ddof=1) / len(below)
    assert values.var(ddof=1) / len(values) == pytest.approx(delong, rel=0.05)


def test_perplexity_and_likelihood_are_the_log_losss() -> None:
    probabilities = torch.softmax(LOGITS, dim=-1).numpy()
    nats = log_loss(TARGET.numpy(), probabilities)

    perplexity = make_query("perplexity")
    values = metric_of(perplexity, statistics_of(perplexity, LOGITS, TARGET), groups=None).values
    likelihood = query_values(make_query("log_likelihood"), LOGITS, TARGET)

    assert values.mean().item() == pytest.approx(np.exp(nats), rel=1e-12)
    assert likelihood.mean().item() == pytest.approx(-nats, rel=1e-12)
