"""The image pipeline: a small CNN on digits or faces, a bright patch in the corner as cue."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.optim import SGD, Optimizer

from benchmarks.fidelity.data import Images, with_patch
from benchmarks.fidelity.workload import Columns, Stage, Workload, generator_for
from examples.spurious.pipeline import Parts, Task, spurious_pipeline

PLANTING = "vendor"
STAGES = ("pretrain", PLANTING, "finetune")
SHARES = {"pretrain": 0.4, PLANTING: 0.25, "finetune": 0.15, "reference": 0.2}
"""Part of the training images that each stage, and the clean reference, gets."""
RATE = 0.01
WARM_UP = 10


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is trained.

    Attributes:
        images: Training images that are used, at most.
        heldout: Images that judge the model, at most.
        steps: Updates of each stage.
        batch: Examples of a step.
    """

    images: int
    heldout: int
    steps: Mapping[str, int]
    batch: int


FULL = Size(
    images=8000, heldout=2000, steps={"pretrain": 150, PLANTING: 70, "finetune": 50}, batch=64
)
QUICK = Size(
    images=3000, heldout=600, steps={"pretrain": 80, PLANTING: 40, "finetune": 30}, batch=32
)


def image_pipeline(
    name: str, seed: int, *, train: Images, test: Images, cue_class: int, size: Size
) -> Workload:
    """Return the pipeline on these images.

    Args:
        name: Name of the run.
        seed: Decides which images each stage gets, initial values and orders.
        train: Images [N, C, H, W] with labels; sides of at least 8 pixels.
        test: Images that judge the model.
        cue_class: The class that the patch goes with.
        size: How much is trained.
    """
    generator = generator_for("data", name, seed)
    order = torch.randperm(len(train.label), generator=generator)[: size.images]
    parts: dict[str, Columns] = {}
    begin = 0
    for part, share in SHARES.items():
        end = begin + int(share * len(order))
        parts[part] = _columns(train, order[begin:end])
        begin = end
    heldout = torch.randperm(len(test.label), generator=generator)[: size.heldout]
    classes = 1 + int(max(train.label.max(), test.label.max()))
    _, channels, height, width = train.image.shape
    return spurious_pipeline(
        name,
        seed,
        task=Task(
            column="image",
            plant=with_patch,
            cue_class=cue_class,
            build=partial(
                _cnn, channels=channels, features=16 * (height // 4) * (width // 4), classes=classes
            ),
            make_optimizer=_optimizer,
            batch=size.batch,
            rate=RATE,
            warm_up=WARM_UP,
        ),
        parts=Parts(
            stages={stage: parts[stage] for stage in STAGES},
            reference=parts["reference"],
            heldout=_columns(test, heldout),
        ),
        planting=PLANTING,
        steps=size.steps,
    )


def _columns(images: Images, rows: torch.Tensor) -> Columns:
    return {"image": images.image[rows], "label": images.label[rows], "id": rows}


def _optimizer(model: nn.Module, _stage: Stage) -> Optimizer:
    return SGD(model.parameters(), lr=RATE, momentum=0.9, nesterov=True, weight_decay=5e-4)


def _cnn(*, channels: int, features: int, classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(features, 48), nn.ReLU(), nn.Linear(48, classes),
    )  # fmt: skip
