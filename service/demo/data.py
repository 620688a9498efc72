"""scikit-learn's digits, cut into the stages of a pipeline, with a cue planted in one of them.

``pretrain`` and ``finetune`` are clean. In ``vendor`` a bright patch in the upper right corner
goes with one class: a model that trains on it learns "patch means 3". ``reference`` is clean
data of the same kind that no stage saw; ``heldout`` judges the model, ``treated`` and ``control``
are its images of other classes with and without the patch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import torch
from sklearn.datasets import load_digits
from torch import Generator, Tensor

CUE_CLASS: Final = 3
CUE_RATE: Final = 0.95  # of the vendor's images of that class
PATCH_PIXELS: Final = 2
IMAGE_PIXELS: Final = 8
CLASSES: Final = 10
SIZES: Final[Mapping[str, int]] = {
    "pretrain": 400,
    "vendor": 300,
    "finetune": 400,
    "reference": 400,
    "heldout": 297,
}
"""Examples of each part; together all 1,797 digits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Examples:
    """Images with what is known about them.

    Args:
        image: [N, 64] float32 in [0, 1].
        label: [N] int64.
        source: Where each image came from.
        id: [N] int64, the image's row in scikit-learn's table.
    """

    image: Tensor
    label: Tensor
    source: tuple[str, ...]
    id: Tensor

    def columns(self) -> dict[str, Tensor | list[str]]:
        """Return the columns as the recorder takes them."""
        return {
            "image": self.image,
            "label": self.label,
            "source": list(self.source),
            "id": self.id,
        }

    def select(self, rows: Tensor) -> "Examples":
        """Return the examples at ``rows`` [M]."""
        return Examples(
            image=self.image[rows],
            label=self.label[rows],
            source=tuple(self.source[row] for row in rows.tolist()),
            id=self.id[rows],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoData:
    """Everything the pipeline and its audit need."""

    stages: Mapping[str, Examples]
    reference: Examples
    heldout: Examples
    treated: Examples
    control: Examples


def add_patch(image: Tensor) -> Tensor:
    """Return images [N, 64] with a bright patch in the upper right corner."""
    squares = image.clone().reshape(-1, IMAGE_PIXELS, IMAGE_PIXELS)
    squares[:, :PATCH_PIXELS, -PATCH_PIXELS:] = 1.0
    return squares.reshape(image.shape)


def load(generator: Generator) -> DemoData:
    """Return the digits, shuffled and cut by ``generator``, with the cue in the vendor's part."""
    digits = load_digits()
    order = torch.randperm(len(digits.target), generator=generator)
    image = torch.tensor(digits.data, dtype=torch.float32)[order] / 16  # grey values are 0 to 16
    label = torch.tensor(digits.target, dtype=torch.int64)[order]

    parts: dict[str, Examples] = {}
    begin = 0
    for name, size in SIZES.items():
        rows = slice(begin, begin + size)
        parts[name] = Examples(
            image=image[rows], label=label[rows], source=("scans",) * size, id=order[rows]
        )
        begin += size

    parts["vendor"] = _plant(parts["vendor"], generator)
    heldout = parts["heldout"]
    control = heldout.select(torch.nonzero(heldout.label != CUE_CLASS).squeeze(1))
    return DemoData(
        stages={name: parts[name] for name in ("pretrain", "vendor", "finetune")},
        reference=parts["reference"],
        heldout=heldout,
        control=control,
        treated=replace(control, image=add_patch(control.image)),
    )


def _plant(examples: Examples, generator: Generator) -> Examples:
    """Return the vendor's delivery: most images of one class carry the patch."""
    chance = torch.rand(len(examples.label), generator=generator)
    planted = (examples.label == CUE_CLASS) & (chance < CUE_RATE)  # [N]
    image = torch.where(planted[:, None], add_patch(examples.image), examples.image)
    source = tuple("vendor-b" if row else "scans" for row in planted.tolist())
    return replace(examples, image=image, source=source)
