"""CelebA as it is published: ``img_align_celeba/*.jpg`` and ``list_attr_celeba.txt``."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from auditor.errors import InputError
from benchmarks.fidelity.data import Images

ATTRIBUTES_FILE = "list_attr_celeba.txt"
IMAGE_FOLDERS = ("img_align_celeba", "img_align_celeba/img_align_celeba")
"""Where the pictures are: as published, and as some mirrors pack them."""
CROP_PIXELS = 178
"""The middle square of an aligned picture of 178 x 218."""


def read_celeba(folder: Path, *, attribute: str, limit: int, pixels: int = 32) -> Images:
    """Return the first pictures as [N, 3, pixels, pixels] and whether they have the attribute.

    Raises:
        InputError: If a file is absent or the attribute is none of the list's.
    """
    names, label = _attributes(folder / ATTRIBUTES_FILE, attribute=attribute, limit=limit)
    places = [folder / place for place in IMAGE_FOLDERS if (folder / place / names[0]).is_file()]
    if not places:
        raise InputError(
            str(folder),
            expected=f"{names[0]} in {' or '.join(IMAGE_FOLDERS)}",
            found="none",
            remedy="Give the folder that img_align_celeba.zip was unpacked to.",
        )
    return Images(
        image=torch.stack([_picture(places[0] / name, pixels=pixels) for name in names]),
        label=label,
    )


def _attributes(path: Path, *, attribute: str, limit: int) -> tuple[Sequence[str], Tensor]:
    """Return file names and labels; the file says how many, names the attributes, then -1 or 1."""
    if not path.is_file():
        raise InputError(
            str(path.parent),
            expected=f"a file {path.name}",
            found="none",
            remedy="Put the list of attributes beside the pictures.",
        )
    with path.open(encoding="utf-8") as file:
        file.readline()  # the number of pictures
        known = file.readline().split()
        rows = [line.split() for line, _ in zip(file, range(limit), strict=False)]
    if attribute not in known or not rows:
        raise InputError(
            f"{path.name}: {attribute}",
            expected="one of " + ", ".join(known),
            found="no such attribute" if rows else "no pictures",
            remedy="Name an attribute of the list, such as Smiling.",
        )
    column = 1 + known.index(attribute)
    return [row[0] for row in rows], torch.tensor([int(row[column] == "1") for row in rows])


def _picture(path: Path, *, pixels: int) -> Tensor:
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    left, top = (picture.width - CROP_PIXELS) // 2, (picture.height - CROP_PIXELS) // 2
    square = picture.crop((left, top, left + CROP_PIXELS, top + CROP_PIXELS))
    small = square.resize((pixels, pixels), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(small, dtype=np.float32) / 255).permute(2, 0, 1)
