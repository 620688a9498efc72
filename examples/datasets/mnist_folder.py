"""Images of digits in a folder of IDX files, as MNIST is published."""

import gzip
from pathlib import Path

import torch

from auditor.errors import InputError
from benchmarks.fidelity.data import Images, idx


def read_mnist(folder: Path, *, part: str) -> Images:
    """Return the images of a part, ``train`` or ``t10k``, of files with or without ``.gz``.

    Raises:
        InputError: If a file is absent.
        ShapeError: If a file is no IDX file.
    """
    image = idx(_read(folder, f"{part}-images-idx3-ubyte"))
    label = idx(_read(folder, f"{part}-labels-idx1-ubyte"))
    return Images(
        image=torch.from_numpy(image).float().div_(255).unsqueeze(1),
        label=torch.from_numpy(label).long(),
    )


def _read(folder: Path, name: str) -> bytes:
    plain, packed = folder / name, folder / f"{name}.gz"
    if plain.is_file():
        return plain.read_bytes()
    if packed.is_file():
        return gzip.decompress(packed.read_bytes())
    raise InputError(
        str(folder),
        expected=f"a file {name} or {name}.gz",
        found="none",
        remedy="Give the folder that holds the four files of MNIST.",
    )
