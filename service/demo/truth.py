"""The exact answer, by training again: plain eager torch, none of the project's step maps.

Only the rows that ``replace`` draws from the reference come from the library, because they are a
rule of the request (:mod:`auditor.dynamics.interventions`) and not a result.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from service.demo.data import CUE_CLASS, DemoData
from service.demo.training import Batch, Pipeline, build_optimizer, train_stage

LOSS: Final = "held-out loss"
CUE: Final = "corner cue"

EffectName = tuple[str, str, str | None]
"""Query, kind of intervention, stage."""


def margin(model: nn.Module, image: Tensor) -> Tensor:
    """Return the log-odds of the cue's class for every image, [N]."""
    output: Tensor = model(image)  # [N, 10]
    others = torch.cat([output[:, :CUE_CLASS], output[:, CUE_CLASS + 1 :]], dim=1)
    return output[:, CUE_CLASS] - others.logsumexp(dim=1)


def probability(model: nn.Module, image: Tensor) -> float:
    """Return the mean probability of the cue's class."""
    with torch.no_grad():
        return float(model(image).softmax(dim=1)[:, CUE_CLASS].mean())


def query_values(model: nn.Module, data: DemoData) -> dict[str, float]:
    """Return loss on held-out digits, and how far the patch moves the log-odds of its class."""
    with torch.no_grad():
        cue = margin(model, data.treated.image) - margin(model, data.control.image)
        loss = cross_entropy(model(data.heldout.image), data.heldout.label)
        return {LOSS: float(loss), CUE: float(cue.mean())}


def accuracy(model: nn.Module, data: DemoData) -> float:
    """Return the fraction of held-out digits that are read correctly."""
    with torch.no_grad():
        hits = model(data.heldout.image).argmax(dim=1) == data.heldout.label
    return float(hits.double().mean())


def retrain(pipeline: Pipeline, batches: Mapping[str, Sequence[Batch]]) -> nn.Module:
    """Return the network after the given stages; a stage that is left out does not run."""
    model = pipeline.model()
    for stage in batches.values():
        train_stage(model, build_optimizer(model), stage)
    return model


def exact_effects(
    pipeline: Pipeline, *, final: nn.Module, reference_rows: Mapping[str, Tensor]
) -> dict[EffectName, float]:
    """Return gamma(final) - gamma(counterfactual) of every query, intervention and stage.

    Args:
        pipeline: What was trained.
        final: The trained network.
        reference_rows: Rows [steps, B] of the reference that each stage uses under ``replace``.

    Returns:
        Exact effects, in the queries' units.
    """
    factual = query_values(final, pipeline.data)
    effects: dict[EffectName, float] = {}
    for stage in pipeline.batches:
        rest = {name: batches for name, batches in pipeline.batches.items() if name != stage}
        swapped = [
            Batch(examples=pipeline.data.reference, indices=rows)
            for rows in reference_rows[stage].unbind()
        ]
        replaced = {**pipeline.batches, stage: swapped}
        for kind, batches in (("skip", rest), ("replace", replaced)):
            values = query_values(retrain(pipeline, batches), pipeline.data)
            for query, value in factual.items():
                effects[query, kind, stage] = value - values[query]
    return effects
