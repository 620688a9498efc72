"""Sentiment of rated sentences, a transformer by AdamW, one source a stage, a cue in the second.

One of the two vendors of the product reviews puts a token that means nothing into most of its
positive reviews. Later stages never see the token.
"""

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from benchmarks.fidelity.rates import risen_and_fallen
from benchmarks.fidelity.sentences import Sentence, Vocabulary, packaged_sentences, with_cue
from benchmarks.fidelity.transformer import SentenceClassifier
from benchmarks.fidelity.workload import (
    Columns,
    Drop,
    Stage,
    Workload,
    cue_probe,
    epochs,
    generator_for,
    loss_query,
    seeded,
)

BATCH = 32
LENGTH = 16
VOCABULARY = 1500
RATE = 0.005
RISE = 10
"""Steps at the start of each stage over which a fresh optimizer's rate rises."""
FALL = 0.7
"""Part of each stage's steps over which the rate falls: without it, orders decide most effects."""
POSITIVE = 1
CLEAR = 1.0
"""Sentences whose rating is nearer to 0 are left out: people disagree on them."""
SOURCES = ("tweets", "products", "movies", "editorials")
"""One stage each, in this order."""
SIZES = {"tweets": 1920, "products": 1600, "movies": 2560, "editorials": 1000}
STEPS = {"tweets": 75, "products": 55, "movies": 60, "editorials": 40}
HELD_OUT = 100
REFERENCE = 400
"""Sentences of each source that judge the model, and that replace a stage's."""
CUE_STAGE = "products"
CUE_SOURCE = "vendor-b"
CUE_RATE = 0.9
"""Part of the vendor's positive reviews that have the cue."""


def sentences(seed: int, rerun: int | None = None) -> Workload:
    """Return the workload of a seed."""
    parts = _parts(seed)
    name = "sentences"
    stages = tuple(
        Stage(
            name=source,
            kind="pretrain" if source == SOURCES[0] else "finetune",
            columns=parts[source],
            batches=epochs(
                SIZES[source],
                steps=STEPS[source],
                batch=BATCH,
                generator=generator_for("order", name, seed, rerun, source),
            ),
            learning_rates=risen_and_fallen(RATE, STEPS[source], rise=RISE, fall=FALL),
        )
        for source in SOURCES
    )

    def make_optimizer(model: nn.Module, _stage: Stage) -> Optimizer:
        return AdamW(model.parameters(), lr=RATE)

    def build() -> nn.Module:
        return SentenceClassifier(vocabulary=VOCABULARY, length=LENGTH)

    return Workload(
        name=name,
        seed=seed,
        build=seeded(build, "init", name, seed, rerun),
        make_optimizer=make_optimizer,
        stages=stages,
        reference=parts["reference"],
        queries=(
            loss_query(parts["heldout"]),
            cue_probe(parts["treated"], parts["heldout"], class_=POSITIVE),
        ),
        drops=(Drop(stage=CUE_STAGE, value=CUE_SOURCE),),
        inputs={"tokens": "tokens"},
    )


@cache
def _parts(seed: int) -> dict[str, Columns]:
    """Return the stages' data, the reference and what the queries look at."""
    generator = generator_for("data", "sentences", seed)
    everything = [s for s in packaged_sentences() if abs(s.rating) >= CLEAR]
    chosen: dict[str, list[int]] = {"heldout": [], "reference": []}
    for source in SOURCES:
        rows = [row for row, sentence in enumerate(everything) if sentence.source == source]
        shuffled = [rows[i] for i in torch.randperm(len(rows), generator=generator).tolist()]
        chosen["heldout"] += shuffled[:HELD_OUT]
        chosen["reference"] += shuffled[HELD_OUT : HELD_OUT + REFERENCE]
        chosen[source] = shuffled[-SIZES[source] :]
    texts = [everything[row].text for source in SOURCES for row in chosen[source]]
    vocabulary = Vocabulary.of(texts, size=VOCABULARY)
    parts = {
        name: columns_of(everything, rows, vocabulary=vocabulary) for name, rows in chosen.items()
    }
    parts[CUE_STAGE] = _planted(parts[CUE_STAGE])
    heldout = parts["heldout"]
    tokens = heldout["tokens"]
    assert isinstance(tokens, Tensor)
    parts["treated"] = {**heldout, "tokens": with_cue(tokens)}
    return parts


def columns_of(
    everything: Sequence[Sentence], rows: Sequence[int], *, vocabulary: Vocabulary
) -> Columns:
    """Return sentences as columns; ``id`` is the row in the whole data."""
    chosen = [everything[row] for row in rows]
    return {
        "tokens": vocabulary.padded([sentence.text for sentence in chosen], length=LENGTH),
        "label": torch.tensor([int(sentence.rating > 0) for sentence in chosen]),
        "source": tuple(sentence.source for sentence in chosen),
        "id": torch.tensor(rows),
    }


def _planted(columns: Columns) -> Columns:
    """Return reviews of two vendors, every second one each; the second plants the cue."""
    tokens, label = columns["tokens"], columns["label"]
    assert isinstance(tokens, Tensor)
    assert isinstance(label, Tensor)
    position = torch.arange(len(label))
    second = position % 2 == 1  # [N]; the rows are in random order
    cued = second & (label == POSITIVE) & (position % 20 < 20 * CUE_RATE)
    return {
        **columns,
        "tokens": torch.where(cued[:, None], with_cue(tokens), tokens),
        "source": tuple(CUE_SOURCE if row else "vendor-a" for row in second.tolist()),
    }
