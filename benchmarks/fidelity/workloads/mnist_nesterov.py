"""MNIST, a small CNN by Nesterov momentum, with a cue that a vendor planted.

``pretrain`` has all classes; in later stages some are rare, as in deliveries. In ``vendor`` nearly
all images of one class carry a bright patch in the corner (source ``vendor-b``): a model that
trains on it learns "patch means 3"; every other stage is clean. Learning rate .01 is the ordinary
case; ``mnist_edge`` and ``mnist_gentle`` are the same with another one.
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn
from torch.optim import SGD, Optimizer

from benchmarks.fidelity.data import CLASSES, mnist, with_patch
from benchmarks.fidelity.workload import (
    Columns,
    Drop,
    Stage,
    Workload,
    constant,
    cue_probe,
    epochs,
    generator_for,
    loss_query,
    seeded,
    select,
)

BATCH = 64
CUE_CLASS = 3
CUE_RATE = 0.95
"""Part of the vendor's images of the class that carry the patch."""
SIZES = {"pretrain": 2000, "vendor": 1000, "finetune": 800, "adapt": 600, "reference": 1000}
STEPS = {"pretrain": 150, "vendor": 70, "finetune": 40, "adapt": 25}
RARE = {"vendor": (7, 8, 9), "finetune": (0, 1), "adapt": (6, 8, 9)}
"""Classes that a stage has few images of."""
RARITY = 0.2
"""Part of a rare class's images that is there."""
HELDOUT = 500


def mnist_nesterov(seed: int, rerun: int | None = None) -> Workload:
    """Return the workload of a seed."""
    return mnist_workload("mnist_nesterov", seed, rerun, rate=0.01, build=cnn)


def mnist_workload(
    name: str,
    seed: int,
    rerun: int | None,
    *,
    rate: float,
    build: Callable[[], nn.Module],
) -> Workload:
    """Return the images and stages with this network at this learning rate."""

    def make_optimizer(model: nn.Module, _stage: Stage) -> Optimizer:
        return SGD(model.parameters(), lr=rate, momentum=0.9, nesterov=True, weight_decay=5e-4)

    parts = mnist_parts(generator_for("data", "mnist", seed))
    stages = tuple(
        Stage(
            name=stage,
            kind=stage if stage in {"pretrain", "adapt"} else "finetune",
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
    return Workload(
        name=name,
        seed=seed,
        build=seeded(build, "init", name, seed, rerun),
        make_optimizer=make_optimizer,
        stages=stages,
        reference=parts["reference"],
        queries=(
            loss_query(parts["heldout"]),
            cue_probe(parts["treated"], parts["control"], class_=CUE_CLASS),
        ),
        drops=(Drop(stage="vendor", value="vendor-b"),),
        inputs={"image": "image"},
    )


def mnist_parts(generator: Generator) -> dict[str, Columns]:
    """Return the stages' images, the reference, and what is held out."""
    train, test = mnist("train"), mnist("t10k")
    order = torch.randperm(len(train.label), generator=generator)
    parts: dict[str, Columns] = {}
    for name, size in SIZES.items():
        rare = torch.isin(train.label[order], torch.tensor(RARE.get(name, ()), dtype=torch.int64))
        chance = torch.rand(len(order), generator=generator)
        rows = order[~rare | (chance < RARITY)][:size]
        parts[name] = _columns(train.image[rows], label=train.label[rows], rows=rows)
        order = order[~torch.isin(order, rows)]  # no image is in two parts
    parts["vendor"] = _planted(parts["vendor"], generator)
    rows = torch.randperm(len(test.label), generator=generator)[:HELDOUT]
    heldout = _columns(test.image[rows], label=test.label[rows], rows=rows)
    others = torch.nonzero(test.label[rows] != CUE_CLASS).squeeze(1)
    control = select(heldout, others)
    return {
        **parts,
        "heldout": heldout,
        "control": control,
        "treated": {**control, "image": with_patch(_image(control))},
    }


def _columns(image: Tensor, *, label: Tensor, rows: Tensor) -> Columns:
    return {"image": image, "label": label, "source": ("scans",) * len(rows), "id": rows}


def _planted(columns: Columns, generator: Generator) -> Columns:
    """Return the vendor's delivery: most images of one class carry the patch."""
    label, image = columns["label"], _image(columns)
    assert isinstance(label, Tensor)
    chance = torch.rand(len(label), generator=generator)
    planted = (label == CUE_CLASS) & (chance < CUE_RATE)  # [N]
    return {
        **columns,
        "image": torch.where(planted[:, None, None, None], with_patch(image), image),
        "source": tuple("vendor-b" if row else "scans" for row in planted.tolist()),
    }


def _image(columns: Columns) -> Tensor:
    image = columns["image"]
    assert isinstance(image, Tensor)
    return image


def cnn() -> nn.Module:
    """Return two convolutions and two linear layers: 39,418 parameters, torch's initial values."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(784, 48), nn.ReLU(), nn.Linear(48, CLASSES),
    )  # fmt: skip
