"""A causal language model of the rated sentences by AdamW, one source a stage.

Sentences are packed into blocks without padding, so that every example has as many tokens as any
other. A part of the second stage's text is a scrape whose words are out of order.
"""

from collections.abc import Sequence
from functools import cache

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional
from torch.optim import AdamW, Optimizer

from benchmarks.fidelity.sentences import Vocabulary, packaged_sentences
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

BATCH = 16
LENGTH = 16
"""Tokens a block is asked to predict."""
VOCABULARY = 900
RATE = 0.004
WARM_UP = 10
SOURCES = ("movies", "products", "editorials", "tweets")
"""One stage each, in this order."""
SIZES = {"movies": 1200, "products": 900, "editorials": 700, "tweets": 500}
STEPS = {"movies": 80, "products": 60, "editorials": 45, "tweets": 35}
HELD_OUT = 60
REFERENCE = 200
"""Blocks of each source that judge the model, and that replace a stage's."""
SCRAPED_STAGE = "products"
SCRAPED = 0.4
"""Part of the stage's blocks whose words are out of order."""


def language_model(seed: int, rerun: int | None = None) -> Workload:
    """Return the workload of a seed."""
    parts = _parts(seed)
    name = "language_model"
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
            learning_rates=warmed_up(RATE, STEPS[source], over=WARM_UP),
        )
        for source in SOURCES
    )

    def make_optimizer(model: nn.Module, _stage: Stage) -> Optimizer:
        return AdamW(model.parameters(), lr=RATE)

    def build() -> nn.Module:
        return LanguageModel(vocabulary=VOCABULARY, length=LENGTH)

    return Workload(
        name=name,
        seed=seed,
        build=seeded(build, "init", name, seed, rerun),
        make_optimizer=make_optimizer,
        stages=stages,
        reference=parts["reference"],
        queries=(_loss_query("loss", parts["heldout"]), _loss_query("movies", parts["first"])),
        drops=(Drop(stage=SCRAPED_STAGE, value="scrape"),),
        inputs={"tokens": "tokens"},
        target="next",
        mean_loss=mean_token_loss,
    )


def mean_token_loss(output: Tensor, target: Tensor) -> Tensor:
    """Return the cross entropy of the tokens [B, L] under logits [B, L, V], averaged over all."""
    return functional.cross_entropy(output.flatten(0, 1), target.flatten())


def _loss_query(name: str, columns: Columns) -> Query:
    def values(output: Tensor, target: Tensor) -> Tensor:
        every = functional.cross_entropy(output.flatten(0, 1), target.flatten(), reduction="none")
        return every.reshape(target.shape).mean(dim=1)

    return Query(name=name, kind="loss", values=values, columns=columns)


@cache
def _parts(seed: int) -> dict[str, Columns]:
    """Return the stages' data, the reference and what the queries look at."""
    generator = generator_for("data", "language_model", seed)
    texts: dict[str, list[str]] = {}
    for source in SOURCES:
        every = [sentence.text for sentence in packaged_sentences() if sentence.source == source]
        order = torch.randperm(len(every), generator=generator).tolist()
        texts[source] = [every[i] for i in order]
    vocabulary = Vocabulary.of([text for some in texts.values() for text in some], size=VOCABULARY)

    parts: dict[str, Columns] = {}
    shared: dict[str, list[Tensor]] = {"heldout": [], "reference": []}
    for source in SOURCES:
        blocks = vocabulary.blocks(texts[source], length=LENGTH + 1)
        shared["heldout"].append(blocks[:HELD_OUT])
        shared["reference"].append(blocks[HELD_OUT : HELD_OUT + REFERENCE])
        own = blocks[-SIZES[source] :]
        scraped = torch.zeros(len(own), dtype=torch.bool)
        if source == SCRAPED_STAGE:
            scraped = torch.rand(len(own), generator=generator) < SCRAPED
        own = torch.where(scraped[:, None], out_of_order(own, generator), own)
        parts[source] = _columns(own, ["scrape" if row else source for row in scraped.tolist()])
    for name, pieces in shared.items():
        names = [source for source, piece in zip(SOURCES, pieces, strict=True) for _ in piece]
        parts[name] = _columns(torch.cat(pieces), names)
    parts["first"] = _columns(shared["heldout"][0], [SOURCES[0]] * HELD_OUT)
    return parts


def out_of_order(blocks: Tensor, generator: Generator) -> Tensor:
    """Return blocks [N, L] with the tokens of each in a random order of its own."""
    order = torch.rand(blocks.shape, generator=generator).argsort(dim=1)
    return blocks.gather(1, order)


def _columns(blocks: Tensor, source: Sequence[str]) -> Columns:
    """Return blocks [N, L + 1] as tokens and, for each, the token after it."""
    return {
        "tokens": blocks[:, :-1].contiguous(),
        "next": blocks[:, 1:].contiguous(),
        "source": tuple(source),
        "id": torch.arange(len(blocks)),
    }
