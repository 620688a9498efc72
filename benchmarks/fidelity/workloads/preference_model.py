"""A small language model: pretrained, fine-tuned, then aligned by preferences, by AdamW.

Every example is two sentences, [2, L]: unrelated ones while the model learns the language, and a
pair of a positive and a negative tweet where it is taught to prefer the first (DPO against the
model that the stage started from, beta 0.3). A part of the pairs is a vendor's, the wrong way
round. The loss and its reference are those of the stage that was entered last.
"""

import copy
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW, Optimizer

from auditor.stagelog.log import Loss
from benchmarks.fidelity.sentences import PADDING, Sentence, Vocabulary, packaged_sentences
from benchmarks.fidelity.transformer import LanguageModel
from benchmarks.fidelity.workload import (
    Columns,
    Drop,
    Query,
    Stage,
    Workload,
    epochs,
    generator_for,
    seeded,
    warmed_up,
)

NAME = "preference_model"
BATCH = 12
LENGTH = 14
VOCABULARY = 600
IGNORED = -100
BETA = 0.3
WARM_UP = 8
SOURCES = {"movies": "pretrain", "products": "finetune", "tweets": "align"}
"""The source of each stage's sentences, and its kind; the last one is of preferences."""
ALIGNED = "tweets"
SIZES = {"movies": 500, "products": 400, "tweets": 300}
STEPS = {"movies": 60, "products": 45, "tweets": 30}
RATES = {"movies": 0.004, "products": 0.003, "tweets": 0.001}
HELD_OUT = 60
REFERENCE = 150
SWAPPED = 0.3
"""Part of the pairs that a vendor delivered the wrong way round."""
CLEAR = 1.0
"""Magnitude of a rating from which a tweet counts as positive or negative."""

LANGUAGE = Loss(kind="causal_lm", over="tokens", ignore_index=IGNORED)
PREFERENCES = Loss(kind="dpo", beta=BETA, ignore_index=IGNORED, reference="stage_start")


class TextModel(nn.Module):
    """Logits of the token after each token of texts with any leading axes."""

    def __init__(self) -> None:
        super().__init__()
        self.model = LanguageModel(vocabulary=VOCABULARY, length=LENGTH)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits [..., L, V] of tokens [..., L]."""
        logits = self.model(tokens.flatten(0, -2))
        return logits.reshape(*tokens.shape, VOCABULARY)


class Entered:
    """The stage that a training is in: which loss it minimises, against which model."""

    def __init__(self) -> None:
        self.workload: Workload | None = None
        self.reference: nn.Module | None = None

    def enter(self, model: nn.Module, stage: Stage) -> Optimizer:
        """Return the stage's optimizer; from now on the loss is the stage's."""
        aligned = stage.name == ALIGNED
        self.reference = copy.deepcopy(model) if aligned else None
        assert self.workload is not None
        # The recorder asks a workload for its loss after the stage was entered.
        object.__setattr__(self.workload, "loss", PREFERENCES if aligned else LANGUAGE)
        return AdamW(model.parameters(), lr=RATES[stage.name])

    def mean_loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the loss of logits [B, 2, L, V] and labels [B, 2, L]."""
        if self.reference is None:
            logits, labels = output[:, :, :-1].flatten(0, 2), target[:, :, 1:].flatten()
            return functional.cross_entropy(logits, labels, ignore_index=IGNORED)
        tokens = torch.where(target == IGNORED, PADDING, target)
        with torch.no_grad():
            before = _log_probability(self.reference(tokens), target)
        ratio = _log_probability(output, target) - before
        return -functional.logsigmoid(BETA * (ratio[:, 0] - ratio[:, 1])).mean()


def preference_model(seed: int, rerun: int | None = None) -> Workload:
    """Return the workload of a seed."""
    parts, entered = _parts(seed), Entered()
    stages = tuple(
        Stage(
            name=source,
            kind=kind,
            columns=parts[source],
            batches=epochs(
                SIZES[source],
                steps=STEPS[source],
                batch=BATCH,
                generator=generator_for("order", NAME, seed, rerun, source),
            ),
            learning_rates=warmed_up(RATES[source], STEPS[source], over=WARM_UP),
        )
        for source, kind in SOURCES.items()
    )
    entered.workload = Workload(
        name=NAME,
        seed=seed,
        build=seeded(TextModel, "init", NAME, seed, rerun),
        make_optimizer=entered.enter,
        stages=stages,
        reference=parts["reference"],
        queries=(
            Query(name="loss", kind="loss", values=_mean_loss, columns=parts["heldout"]),
            Query(
                name="preference",
                kind="log_likelihood",
                values=_log_likelihood,
                columns=parts["positive"],
                control=parts["negative"],
                better="higher",
            ),
        ),
        drops=(Drop(stage=ALIGNED, value="vendor"),),
        inputs={"tokens": "tokens"},
        target="labels",
        loss=LANGUAGE,
        mean_loss=entered.mean_loss,
    )
    return entered.workload


def _log_probability(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the log-probability of each text, [B, 2], of logits [B, 2, L, V]."""
    losses = functional.cross_entropy(
        logits[:, :, :-1].flatten(0, 2),
        labels[:, :, 1:].flatten(),
        ignore_index=IGNORED,
        reduction="none",
    )
    return -losses.reshape(*labels.shape[:2], -1).sum(dim=2)


def _log_likelihood(output: Tensor, target: Tensor) -> Tensor:
    """Return the log-likelihood of next tokens [N, L] under logits [N, L, V], added up, [N]."""
    losses = functional.cross_entropy(
        output.flatten(0, 1), target.flatten(), ignore_index=IGNORED, reduction="none"
    )
    return -losses.reshape(target.shape).sum(dim=1)


def _mean_loss(output: Tensor, target: Tensor) -> Tensor:
    return -_log_likelihood(output, target) / (target != IGNORED).sum(dim=1)


@cache
def _parts(seed: int) -> dict[str, Columns]:
    """Return the stages' data, the reference and what the queries look at."""
    generator = generator_for("data", NAME, seed)
    texts = {source: _shuffled(_of(source), generator) for source in SOURCES}
    every = [one.text for some in texts.values() for one in some]
    vocabulary = Vocabulary.of(every, size=VOCABULARY)

    parts: dict[str, Columns] = {}
    heldout: list[Tensor] = []
    for source in SOURCES:
        tokens = vocabulary.padded([one.text for one in texts[source]], length=LENGTH)
        tokens = tokens[(tokens != PADDING).sum(dim=1) > 1]  # one token has nothing to predict
        heldout.append(tokens[:HELD_OUT])
        own = tokens[HELD_OUT : HELD_OUT + 2 * SIZES[source]].unflatten(0, (-1, 2))
        parts[source] = _columns(own, [source] * len(own))
    pairs = _pairs(texts[ALIGNED], vocabulary)
    judged, clean, own = pairs.split([HELD_OUT, REFERENCE, len(pairs) - HELD_OUT - REFERENCE])
    own = own[: SIZES[ALIGNED]]
    swapped = torch.rand(len(own), generator=generator) < SWAPPED
    own = torch.where(swapped[:, None, None], own.flip(1), own)
    parts[ALIGNED] = _columns(own, ["vendor" if row else ALIGNED for row in swapped.tolist()])
    parts["reference"] = _columns(clean, ["reference"] * len(clean))
    parts["heldout"] = _evaluated(torch.cat(heldout))
    parts["positive"], parts["negative"] = (_evaluated(judged[:, side]) for side in (0, 1))
    return parts


def _of(source: str) -> list[Sentence]:
    return [sentence for sentence in packaged_sentences() if sentence.source == source]


def _shuffled(sentences: Sequence[Sentence], generator: torch.Generator) -> list[Sentence]:
    order = torch.randperm(len(sentences), generator=generator).tolist()
    return [sentences[i] for i in order]


def _pairs(sentences: Sequence[Sentence], vocabulary: Vocabulary) -> Tensor:
    """Return pairs of a positive and a negative text, [N, 2, L], each used once."""
    sides = []
    for sign in (1, -1):
        own = [one.text for one in sentences if sign * one.rating > CLEAR]
        tokens = vocabulary.padded(own, length=LENGTH)
        sides.append(tokens[(tokens != PADDING).sum(dim=1) > 1])
    count = min(map(len, sides))
    return torch.stack([side[:count] for side in sides], dim=1)


def _columns(tokens: Tensor, source: Sequence[str]) -> Columns:
    return {
        "tokens": tokens.contiguous(),
        "labels": torch.where(tokens == PADDING, IGNORED, tokens),
        "source": tuple(source),
    }


def _evaluated(tokens: Tensor) -> Columns:
    """Return texts [N, L] with the token after each one as its label, as queries want it."""
    after = torch.cat([tokens[:, 1:], torch.full_like(tokens[:, :1], PADDING)], dim=1)
    return {
        "tokens": tokens.contiguous(),
        "labels": torch.where(after == PADDING, IGNORED, after),
        "id": torch.arange(len(tokens)),
    }
