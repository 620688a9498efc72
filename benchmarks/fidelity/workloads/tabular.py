"""Breast-cancer measurements, an MLP whose optimizer state is kept across a boundary.

Three stages of one clinic's data after the other; in the second, some diagnoses are wrong (source
``transcribed``). The third goes on with the second's momentum and a smaller learning rate, so that
a skipped second stage hands on the first one's momentum.
"""

import torch
from torch import Generator, nn
from torch.optim import SGD, Optimizer

from benchmarks.fidelity.workload import (
    Columns,
    Drop,
    Stage,
    Workload,
    constant,
    epochs,
    generator_for,
    loss_query,
    seeded,
    select,
)

BATCH = 16
WRONG = 0.25
SIZES = {"clinic-a": 120, "clinic-b": 120, "clinic-c": 90, "reference": 90}
"""Examples of each part; the remaining 149 of 569 are held out."""
STEPS = {"clinic-a": 60, "clinic-b": 60, "clinic-c": 30}
RATES = {"clinic-a": 0.02, "clinic-b": 0.02, "clinic-c": 0.01}
FEATURES = 30


def tabular(seed: int, rerun: int | None = None) -> Workload:
    """Return the workload of a seed."""
    parts = _parts(generator_for("data", "tabular", seed))
    stages = tuple(
        Stage(
            name=stage,
            kind="pretrain" if stage == "clinic-a" else "finetune",
            columns=parts[stage],
            batches=epochs(
                SIZES[stage],
                steps=steps,
                batch=BATCH,
                generator=generator_for("order", "tabular", seed, rerun, stage),
            ),
            learning_rates=constant(RATES[stage], steps),
            optimizer="keep" if stage == "clinic-c" else "reset",
        )
        for stage, steps in STEPS.items()
    )
    return Workload(
        name="tabular",
        seed=seed,
        build=seeded(_mlp, "init", "tabular", seed, rerun),
        make_optimizer=_make_optimizer,
        stages=stages,
        reference=parts["reference"],
        queries=(loss_query(parts["heldout"]),),
        drops=(Drop(stage="clinic-b", value="transcribed"),),
        inputs={"measurements": "measurements"},
    )


def _make_optimizer(model: nn.Module, stage: Stage) -> Optimizer:
    return SGD(model.parameters(), lr=RATES[stage.name], momentum=0.9, weight_decay=1e-3)


def _parts(generator: Generator) -> dict[str, Columns]:
    """Return the table, shuffled and cut, standardised by the first clinic's figures."""
    from sklearn.datasets import load_breast_cancer

    table = load_breast_cancer()
    order = torch.randperm(len(table.target), generator=generator)
    measured = torch.tensor(table.data, dtype=torch.float64)[order]
    known = measured[: SIZES["clinic-a"]]
    label = torch.tensor(table.target, dtype=torch.int64)[order]
    everything: Columns = {
        "measurements": ((measured - known.mean(dim=0)) / known.std(dim=0)).float(),
        "label": label,
        "source": ("measured",) * len(order),
        "id": order,
    }
    parts: dict[str, Columns] = {}
    begin = 0
    for name, size in {**SIZES, "heldout": len(order) - sum(SIZES.values())}.items():
        parts[name] = select(everything, torch.arange(begin, begin + size))
        begin += size
    parts["clinic-b"] = _transcribed(parts["clinic-b"], generator)
    return parts


def _transcribed(columns: Columns, generator: Generator) -> Columns:
    """Return examples of which a part has the other diagnosis."""
    label = columns["label"]
    assert not isinstance(label, tuple)
    wrong = torch.rand(len(label), generator=generator) < WRONG  # [N]
    return {
        **columns,
        "label": torch.where(wrong, 1 - label, label),
        "source": tuple("transcribed" if row else "measured" for row in wrong.tolist()),
    }


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(FEATURES, 32), nn.Tanh(), nn.Linear(32, 2))
