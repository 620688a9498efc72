"""Which images there are, and what is known of each."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auditor.errors import InputError
from auditor.record.image_files import folders_of_classes, labelled_files
from auditor.record.table import Table


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def labels(*rows: dict[str, Any]) -> Table:
    return Table(name="labels.csv", rows=rows, lines=range(2, 2 + len(rows)))


def test_a_folder_is_a_class_and_paths_are_ids(tmp_path: Path) -> None:
    root = touch(
        tmp_path / "photos", "dog/b.JPG", "cat/deep/a.png", "cat/note.txt", ".hidden/c.png",
        "dog/.DS_Store",
    )  # fmt: skip

    found = folders_of_classes(root)

    assert found.files == ["cat/deep/a.png", "dog/b.JPG"]
    assert found.columns == {
        "id": ["cat/deep/a.png", "dog/b.JPG"], "label": [0, 1], "class": ["cat", "dog"],
    }  # fmt: skip
    assert found.classes == {"cat": 0, "dog": 1}
    assert found.places == ["photos/cat/deep/a.png", "photos/dog/b.JPG"]
    assert found.passed_over == 1


def test_classes_may_be_numbered_otherwise(tmp_path: Path) -> None:
    root = touch(tmp_path, "cat/a.png", "dog/b.png")

    assert folders_of_classes(root, classes={"dog": 0, "cat": 1}).columns["label"] == [1, 0]
    with pytest.raises(InputError, match=r"dog/b\.png"):
        folders_of_classes(root, classes={"cat": 0})


@pytest.mark.parametrize("names", [(), ("note.txt",), ("a.png",), ("cat/a.png", "b.png")])
def test_images_lie_in_the_folders_of_their_classes(tmp_path: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="for each class"):
        folders_of_classes(touch(tmp_path / "photos", *names, "x"))


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    outside = touch(tmp_path, "secret.png") / "secret.png"
    root = touch(tmp_path / "photos", "cat/a.png")
    (root / "cat" / "b.png").symlink_to(outside)

    with pytest.raises(InputError, match=r"cat/b\.png"):
        folders_of_classes(root)


def test_a_file_of_labels_keeps_its_order_and_columns(tmp_path: Path) -> None:
    root = touch(tmp_path, "b.png", "a.png")
    table = labels(
        {"file": "b.png", "label": "dog", "source": "x", "n": 7},
        {"file": "a.png", "label": "cat", "source": "y", "n": 8},
    )

    found = labelled_files(root, table, keep=["source"])
    numbered = labelled_files(root, table, ids="n")

    assert found.files == ["b.png", "a.png"]
    assert np.asarray(found.columns["label"]).tolist() == [1, 0]
    assert (found.columns["id"], found.columns["source"]) == (["b.png", "a.png"], ["x", "y"])
    assert found.places == ["labels.csv:2: b.png", "labels.csv:3: a.png"]
    assert np.asarray(numbered.columns["id"]).tolist() == [7, 8]


@pytest.mark.parametrize("path", ["../a.png", "/etc/passwd", "absent.png", "", 7, "cat"])
def test_a_path_that_leads_elsewhere_is_named_by_its_line(tmp_path: Path, path: Any) -> None:
    touch(tmp_path, "a.png")
    root = touch(tmp_path / "photos", "b.png", "cat/c.png")

    with pytest.raises(InputError, match=r"labels\.csv:3: file"):
        labelled_files(root, labels({"file": "b.png", "label": 0}, {"file": path, "label": 1}))
