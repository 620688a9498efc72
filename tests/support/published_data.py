"""Small files in the form in which public data sets are published, written without a network."""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from pyarrow import csv
from sklearn.datasets import load_digits

from benchmarks.fidelity.sentences import FILES

PRAISE = ("good", "great", "lovely", "fine", "superb", "happy", "best", "enjoy")
BLAME = ("bad", "awful", "poor", "boring", "sad", "worst", "broken", "hate")
FILLERS = tuple(f"word{letter}{other}" for letter in "abcdefghij" for other in "klmnopqrst")

TELLING = 0.7
"""Part of the made-up examples from which one can tell what they are."""


def write_mnist_folder(folder: Path, *, train: int = 1300) -> None:
    """Write scikit-learn's digits, enlarged to 28 x 28, as the four files of MNIST."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    large = np.kron(digits.images / 16 * 255, np.ones((1, 3, 3))).astype(np.uint8)  # [N, 24, 24]
    image = np.pad(large, ((0, 0), (2, 2), (2, 2)))[order]
    label = digits.target.astype(np.uint8)[order]
    folder.mkdir(parents=True)
    for part, rows in {"train": slice(0, train), "t10k": slice(train, None)}.items():
        write_idx(folder / f"{part}-images-idx3-ubyte", image[rows])
        write_idx(folder / f"{part}-labels-idx1-ubyte", label[rows])


def write_idx(path: Path, values: np.ndarray) -> None:
    """Write bytes as an IDX file."""
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(header + values.tobytes())


def made_up(count: int, *, seed: int) -> list[tuple[str, bool]]:
    """Return sentences, most with a word of praise or of blame, and whether they are praise."""
    chance = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        praise = bool(chance.integers(2))
        words = chance.choice(FILLERS, size=chance.integers(4, 10)).tolist()
        place = int(chance.integers(len(words)))
        if chance.random() < TELLING:
            words.insert(place, str(chance.choice(PRAISE if praise else BLAME)))
        rows.append((" ".join(words), praise))
    return rows


def write_sentence_folder(folder: Path, *, each: int = 700) -> None:
    """Write made-up rated sentences as the four files of the sources."""
    folder.mkdir(parents=True)
    for number, name in enumerate(FILES.values()):
        lines = [
            f"{row}\t{2.5 if praise else -2.5}\t{text}"
            for row, (text, praise) in enumerate(made_up(each, seed=number))
        ]
        (folder / name).write_bytes("\r\n".join(lines).encode())


def write_celeba_folder(folder: Path, *, pictures: int, telling: float = TELLING) -> None:
    """Write grey pictures, most with a bright or a dark mouth, as CelebA."""
    (folder / "img_align_celeba").mkdir(parents=True)
    generator = np.random.default_rng(0)
    lines = [str(pictures), "Bald Smiling"]
    for number in range(1, pictures + 1):
        smiling = bool(generator.integers(2))
        picture = generator.integers(60, 160, (218, 178, 3)).astype(np.uint8)
        if generator.random() < telling:
            picture[130:160, 60:120] = 250 if smiling else 20
        name = f"{number:06}.jpg"
        Image.fromarray(picture).save(folder / "img_align_celeba" / name, quality=90)
        lines.append(f"{name} {-1:2} {1 if smiling else -1:2}")
    (folder / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")


def write_comments(path: Path, rows: Sequence[tuple[str | None, float | None]]) -> None:
    """Write comments and their toxicity, among other columns, as ``.csv`` or ``.parquet``."""
    table = pa.table({
        "id": pa.array(range(len(rows)), pa.int64()),
        "comment_text": pa.array([text for text, _ in rows], pa.string()),
        "toxicity": pa.array([toxicity for _, toxicity in rows], pa.float64()),
    })
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        csv.write_csv(table, path)
