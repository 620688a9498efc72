"""A workload of 40 made-up points that the fidelity benchmark judges in a second."""

import torch
from torch import nn
from torch.optim import SGD

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
)

STEPS = {"first": 6, "second": 5, "third": 4}
KEPT = "third"


def small_workload(seed: int, rerun: int | None = None) -> Workload:
    """Return three stages of a linear-tanh classifier; the third keeps the momentum."""
    data = generator_for("data", seed)
    parts: dict[str, Columns] = {}
    for name, size in {**dict.fromkeys(STEPS, 12), "reference": 10, "heldout": 9}.items():
        x = torch.randn(size, 3, generator=data)
        parts[name] = {
            "x": x,
            "label": (x.sum(dim=1) > 0).long(),
            "source": tuple("odd" if row % 4 == 1 else "even" for row in range(size)),
            "id": torch.arange(size),
        }
    return Workload(
        name="small",
        seed=seed,
        build=seeded(
            lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), "init", seed, rerun
        ),
        make_optimizer=lambda model, _stage: SGD(model.parameters(), lr=1.0, momentum=0.9),
        stages=tuple(
            Stage(
                name=name,
                columns=parts[name],
                batches=epochs(
                    12, steps=steps, batch=4, generator=generator_for("o", seed, rerun, name)
                ),
                learning_rates=constant(0.1, steps),
                optimizer="keep" if name == KEPT else "reset",
            )
            for name, steps in STEPS.items()
        ),
        reference=parts["reference"],
        queries=(loss_query(parts["heldout"]),),
        drops=(Drop(stage="second", value="odd"),),
        inputs={"x": "x"},
    )
