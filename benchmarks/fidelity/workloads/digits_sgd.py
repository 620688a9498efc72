"""Digits, an MLP by SGD with momentum, four stages; one stage has wrong labels from one source.

Learning rate .02, momentum .9, batches of 32: an ordinary training. The stage with wrong labels
(source ``crowd``) is harmful when its data are replaced or dropped, and nearly neutral when it is
skipped: some training beats none.
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn
from torch.optim import SGD, Optimizer

from benchmarks.fidelity.data import wrong_labels
from benchmarks.fidelity.workload import (
    Columns,
    Drop,
    Query,
    Stage,
    Workload,
    constant,
    epochs,
    generator_for,
    loss_query,
    seeded,
    select,
)

BATCH = 32
CLASSES = 10
WRONG = 0.3
SIZES = {"pretrain": 400, "crowd": 300, "finetune": 300, "adapt": 250, "reference": 250}
"""Examples of each part; the remaining 297 of 1,797 are held out."""
STEPS = {"pretrain": 120, "crowd": 120, "finetune": 30, "adapt": 20}
"""Short later stages: what the crowd's labels taught is still there at the end."""
RATE = 0.02


def digits_sgd(seed: int, rerun: int | None = None) -> Workload:
    """Return the workload of a seed."""

    def make_optimizer(model: nn.Module, _stage: Stage) -> Optimizer:
        return SGD(model.parameters(), lr=RATE, momentum=0.9)

    return digits_workload("digits_sgd", seed, rerun, rate=RATE, make_optimizer=make_optimizer)


def digits_workload(
    name: str,
    seed: int,
    rerun: int | None,
    *,
    rate: float,
    make_optimizer: Callable[[nn.Module, Stage], Optimizer],
) -> Workload:
    """Return the digits with this optimizer."""
    parts = digits_parts(generator_for("data", "digits", seed))
    stages = tuple(
        Stage(
            name=stage,
            kind="pretrain" if stage == "pretrain" else "finetune",
            columns=parts[stage],
            batches=epochs(
                SIZES[stage],
                steps=steps,
                batch=BATCH,
                generator=generator_for("order", name, seed, rerun, stage),
            ),
            learning_rates=constant(rate, steps),
        )
        for stage, steps in STEPS.items()
    )
    queries: tuple[Query, ...] = (loss_query(parts["heldout"]),)
    return Workload(
        name=name,
        seed=seed,
        build=seeded(_mlp, "init", name, seed, rerun),
        make_optimizer=make_optimizer,
        stages=stages,
        reference=parts["reference"],
        queries=queries,
        drops=(Drop(stage="crowd", value="crowd"),),
        inputs={"image": "image"},
    )


def digits_parts(generator: Generator) -> dict[str, Columns]:
    """Return scikit-learn's digits, shuffled and cut, with wrong labels in the crowd's part."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = torch.randperm(len(digits.target), generator=generator)
    everything: Columns = {
        "image": torch.tensor(digits.data, dtype=torch.float32)[order] / 16,
        "label": torch.tensor(digits.target, dtype=torch.int64)[order],
        "source": ("scans",) * len(order),
        "id": order,
    }
    parts: dict[str, Columns] = {}
    begin = 0
    for name, size in {**SIZES, "heldout": len(order) - sum(SIZES.values())}.items():
        parts[name] = select(everything, torch.arange(begin, begin + size))
        begin += size
    parts["crowd"] = with_wrong_labels(parts["crowd"], rate=WRONG, generator=generator)
    return parts


def with_wrong_labels(columns: Columns, *, rate: float, generator: Generator) -> Columns:
    """Return examples of which a part has another label; their source is ``crowd``."""
    label = columns["label"]
    assert isinstance(label, Tensor)
    labels, wrong = wrong_labels(label, rate=rate, generator=generator)
    source = tuple("crowd" if row else "scans" for row in wrong.tolist())
    return {**columns, "label": labels, "source": source}


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, CLASSES))
