import gzip
from pathlib import Path

import pytest
import torch

from auditor.errors import InputError
from examples.datasets.celeba import read_celeba
from examples.datasets.civil_comments import read_civil_comments
from examples.datasets.mnist_folder import read_mnist
from tests.support.published_data import write_celeba_folder, write_comments, write_mnist_folder


@pytest.fixture(scope="module")
def celeba(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "celeba"
    write_celeba_folder(folder, pictures=12, telling=1.0)
    return folder


def test_mnist_is_read_from_its_files_packed_or_not(tmp_path: Path) -> None:
    folder = tmp_path / "mnist"
    write_mnist_folder(folder)
    plain = read_mnist(folder, part="t10k")
    for path in list(folder.iterdir()):
        (folder / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()

    packed = read_mnist(folder, part="t10k")

    assert plain.image.shape == (497, 1, 28, 28)
    assert (plain.image.min(), plain.image.max()) == (0, 1)
    torch.testing.assert_close(packed.image, plain.image)
    torch.testing.assert_close(packed.label, plain.label)


def test_absent_file_of_mnist_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="train-images-idx3-ubyte"):
        read_mnist(tmp_path, part="train")


def test_celeba_pairs_each_picture_with_its_attribute(celeba: Path) -> None:
    faces = read_celeba(celeba, attribute="Smiling", limit=12)

    # The mouth is bright where the attribute is 1: rows 130-160 of 218 lie low in the square.
    mouth = faces.image[:, :, 21:23, 13:18].mean(dim=(1, 2, 3))
    assert faces.image.shape == (12, 3, 32, 32)
    assert ((mouth > 0.5) == (faces.label == 1)).all()
    assert 0 < faces.label.sum() < 12


def test_celeba_is_cut_to_the_limit(celeba: Path) -> None:
    assert len(read_celeba(celeba, attribute="Bald", limit=5).label) == 5


def test_unknown_attribute_is_refused_with_the_known_ones(celeba: Path) -> None:
    with pytest.raises(InputError, match="Bald, Smiling"):
        read_celeba(celeba, attribute="Cheerful", limit=5)


def test_pictures_must_lie_where_the_list_says(celeba: Path, tmp_path: Path) -> None:
    (tmp_path / "list_attr_celeba.txt").write_text("1\nBald\n000001.jpg -1\n")

    with pytest.raises(InputError, match=r"000001\.jpg in img_align_celeba"):
        read_celeba(tmp_path, attribute="Bald", limit=5)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_comments_with_a_text_and_a_toxicity_are_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"comments{suffix}"
    write_comments(path, [
        ("kind words", 0.0), ('two lines,\nand "quotes"', 0.5), ("mild", 0.49), ("unrated", None),
    ])  # fmt: skip

    comments = read_civil_comments(path, limit=10)

    assert [(comment.text, comment.rating > 0) for comment in comments] == [
        ("kind words", False), ('two lines,\nand "quotes"', True), ("mild", False),
    ]  # fmt: skip


def test_comments_are_cut_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "comments.csv"
    write_comments(path, [(f"comment {number}", 0.1) for number in range(9)])

    assert len(read_civil_comments(path, limit=4)) == 4


def test_table_without_toxicity_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "comments.csv"
    path.write_text("text,stars\nnice,5\n")

    with pytest.raises(InputError, match=r"toxicity or target.*found text, stars"):
        read_civil_comments(path, limit=4)
