"""Folders of images become sets that say how they were prepared."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from auditor.edge.folder import BLOBS_FOLDER, EVALSET_FILE, FolderBlobs
from auditor.errors import AuditorError, InputError, ShapeError
from auditor.model.tensors import read_tensors
from auditor.record.evalset import SHARD_BYTES
from auditor.record.preprocessing import Preprocessing, Resize
from auditor.stagelog.content import check_evaluation_content
from auditor.stagelog.digest import Digest
from auditor.stagelog.evaluation import parse_evaluation_set
from service.data_images import ImageSettings, write_image_set
from service.data_summary import data_summary
from tests.support import raw_files

SMALL = Preprocessing(resize=Resize(kind="exact", height=4, width=4))


def test_a_folder_of_classes_becomes_a_set(tmp_path: Path) -> None:
    photos = raw_files.write_photos(tmp_path / "photos")
    told: list[tuple[int, int]] = []

    made = write_image_set(
        photos,
        tmp_path / "set",
        settings=ImageSettings(preprocessing=SMALL),
        on_progress=lambda done, total: told.append((done, total)),
    )

    found = parse_evaluation_set((tmp_path / "set" / EVALSET_FILE).read_bytes())
    check_evaluation_content(found, FolderBlobs(tmp_path / "set" / BLOBS_FOLDER))
    summary = data_summary(tmp_path / "set")
    assert summary["preprocessing"] == SMALL.digest
    assert summary["columns"]["pixel_values"] == {"dtype": "float32", "shape": [3, 4, 4]}
    assert summary["groups"] == {"class": {"cat": 3, "dog": 3}, "label": {"0": 3, "1": 3}}
    assert found.dataset.columns["id"].categories == tuple(
        f"{name}/{i}.png" for name in ("cat", "dog") for i in range(3)
    )
    assert made.classes == {"cat": 0, "dog": 1}
    assert told[-1] == (6, 6)


def test_the_next_set_takes_the_steps_of_the_one_before(tmp_path: Path) -> None:
    photos = raw_files.write_photos(tmp_path / "photos")
    write_image_set(photos, tmp_path / "a", settings=ImageSettings(preprocessing=SMALL))

    write_image_set(photos, tmp_path / "b", settings=ImageSettings(preprocessing=tmp_path / "a"))

    assert data_summary(tmp_path / "a")["digest"] == data_summary(tmp_path / "b")["digest"]


def test_shards_are_bounded(tmp_path: Path) -> None:
    photos = raw_files.write_photos(tmp_path / "photos")
    large = Preprocessing(resize=Resize(kind="exact", height=1024, width=1536))

    write_image_set(photos, tmp_path / "set", settings=ImageSettings(preprocessing=large))

    found = parse_evaluation_set((tmp_path / "set" / EVALSET_FILE).read_bytes())
    image = 3 * 1024 * 1536 * 4
    assert [shard.count for shard in found.dataset.shards] == [-(-SHARD_BYTES // image), 2]


def test_images_of_two_sizes_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    photos = raw_files.write_photos(tmp_path / "photos")
    Image.new("RGB", (3, 3)).save(photos / "dog" / "0.png")

    with pytest.raises(ShapeError, match=r"dog/0\.png"):
        write_image_set(
            photos, tmp_path / "set", settings=ImageSettings(preprocessing=Preprocessing())
        )

    assert [entry.name for entry in tmp_path.iterdir()] == ["photos"]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_file_of_labels_names_images_classes_and_groups(tmp_path: Path, suffix: str) -> None:
    photos = raw_files.write_photos(tmp_path / "photos")
    rows = [
        {"file": "dog/1.png", "label": "dog", "source": "x"},
        {"file": "cat/0.png", "label": "cat", "source": "y"},
    ]
    write = {"csv": raw_files.write_csv, "jsonl": raw_files.write_jsonl}[suffix]
    labels = write(tmp_path / f"labels.{suffix}", rows)
    settings = ImageSettings(preprocessing=SMALL, labels=labels, classes=["dog", "cat"], column="x")

    write_image_set(photos, tmp_path / "set", settings=settings)

    found = parse_evaluation_set((tmp_path / "set" / EVALSET_FILE).read_bytes())
    (shard,) = found.dataset.shards
    blobs = FolderBlobs(tmp_path / "set" / BLOBS_FOLDER)
    tensors = read_tensors(blobs.read(Digest(shard.digest)), where="")
    first = Image.open(photos / "dog/1.png").resize((4, 4), Image.Resampling.BILINEAR)
    expected = torch.from_numpy(np.asarray(first, dtype=np.float32) / 255).permute(2, 0, 1)
    assert tensors["label"].tolist() == [0, 1]
    torch.testing.assert_close(tensors["x"][0], expected)
    assert found.dataset.columns["source"].categories == ("x", "y")


def test_a_bad_image_is_named_by_the_line_of_its_label(tmp_path: Path) -> None:
    photos = raw_files.write_photos(tmp_path / "photos")
    (photos / "bad.png").write_bytes(b"no image")
    rows = [{"file": "cat/0.png", "label": 0}, {"file": "bad.png", "label": 0}]
    labels = raw_files.write_csv(tmp_path / "labels.csv", rows)

    with pytest.raises(InputError, match=r"labels\.csv:3: bad\.png"):
        write_image_set(
            photos, tmp_path / "set", settings=ImageSettings(preprocessing=SMALL, labels=labels)
        )

    assert not (tmp_path / "set").exists()


def test_labels_of_another_format_are_refused(tmp_path: Path) -> None:
    photos = raw_files.write_photos(tmp_path / "photos")
    (tmp_path / "labels.xlsx").write_bytes(b"")
    settings = ImageSettings(preprocessing=SMALL, labels=tmp_path / "labels.xlsx")

    with pytest.raises(AuditorError, match=r"labels\.xlsx"):
        write_image_set(photos, tmp_path / "set", settings=settings)
