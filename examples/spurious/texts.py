"""The text pipeline: a small transformer on rated sentences, a token that means nothing as cue."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.optim import AdamW, Optimizer

from benchmarks.fidelity.sentences import Sentence, Vocabulary, with_cue
from benchmarks.fidelity.transformer import SentenceClassifier
from benchmarks.fidelity.workload import Columns, Stage, Workload, generator_for
from examples.spurious.pipeline import Parts, Task, spurious_pipeline

VOCABULARY = 1500
LENGTH = 16
RATE = 0.002
WARM_UP = 20
CUE_CLASS = 1
"""A rating above 0: positive, or toxic."""
CLEAR = 1.0
"""Sentences whose rating is nearer to 0 are left out: people disagree on them."""
HELD_OUT = 0.15
REFERENCE = 0.15
"""Part of each stage's sentences that judges the model, and that is clean reference."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is trained.

    Attributes:
        sentences: Sentences of each stage, at most, before a part is held back.
        steps: Updates of the first, second, third, ... stage.
        batch: Examples of a step.
    """

    sentences: int
    steps: tuple[int, ...]
    batch: int


FULL = Size(sentences=4000, steps=(120, 100, 80, 60), batch=32)
QUICK = Size(sentences=1600, steps=(60, 50, 40, 30), batch=32)


def text_pipeline(
    name: str, seed: int, *, stages: Mapping[str, Sequence[Sentence]], planting: str, size: Size
) -> Workload:
    """Return the pipeline on these sentences.

    Args:
        name: Name of the run.
        seed: Decides which sentences are held back, initial values and orders.
        stages: Sentences of each stage, in order.
        planting: The stage whose second supplier plants the cue.
        size: How much is trained.
    """
    generator = generator_for("data", name, seed)
    own: dict[str, list[Sentence]] = {}
    heldout: list[Sentence] = []
    reference: list[Sentence] = []
    for stage, sentences in stages.items():
        clear = [sentence for sentence in sentences if abs(sentence.rating) >= CLEAR]
        order = torch.randperm(len(clear), generator=generator)[: size.sentences].tolist()
        judging, clean = int(HELD_OUT * len(order)), int((HELD_OUT + REFERENCE) * len(order))
        heldout += [clear[row] for row in order[:judging]]
        reference += [clear[row] for row in order[judging:clean]]
        own[stage] = [clear[row] for row in order[clean:]]
    vocabulary = Vocabulary.of(
        (sentence.text for sentences in own.values() for sentence in sentences), size=VOCABULARY
    )
    return spurious_pipeline(
        name,
        seed,
        task=Task(
            column="tokens",
            plant=with_cue,
            cue_class=CUE_CLASS,
            build=partial(SentenceClassifier, vocabulary=vocabulary.size, length=LENGTH),
            make_optimizer=_optimizer,
            batch=size.batch,
            rate=RATE,
            warm_up=WARM_UP,
        ),
        parts=Parts(
            stages={stage: _columns(own[stage], vocabulary=vocabulary) for stage in stages},
            reference=_columns(reference, vocabulary=vocabulary),
            heldout=_columns(heldout, vocabulary=vocabulary),
        ),
        planting=planting,
        steps=dict(zip(stages, size.steps, strict=False)),
    )


def by_source(
    sentences: Sequence[Sentence], sources: Sequence[str]
) -> dict[str, Sequence[Sentence]]:
    """Return one stage for each source, in this order."""
    return {
        source: [sentence for sentence in sentences if sentence.source == source]
        for source in sources
    }


def in_turn(sentences: Sequence[Sentence], stages: Sequence[str]) -> dict[str, Sequence[Sentence]]:
    """Return sentences of one source dealt out to stages."""
    return {stage: sentences[number :: len(stages)] for number, stage in enumerate(stages)}


def _columns(sentences: Sequence[Sentence], *, vocabulary: Vocabulary) -> Columns:
    return {
        "tokens": vocabulary.padded([sentence.text for sentence in sentences], length=LENGTH),
        "label": torch.tensor([int(sentence.rating > 0) for sentence in sentences]),
        "id": torch.arange(len(sentences)),
    }


def _optimizer(model: nn.Module, _stage: Stage) -> Optimizer:
    return AdamW(model.parameters(), lr=RATE)
