"""Evaluation sets on disk: a folder as the recorder writes it, or an ``.npz`` made into one."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

from auditor.checks import needs_extra
from auditor.edge.folder import BLOBS_FOLDER, EVALSET_FILE, FolderBlobs
from auditor.errors import InputError
from auditor.stagelog.dataset import EvaluationSet
from auditor.stagelog.digest import Digest, sha256
from auditor.stagelog.evaluation import parse_evaluation_set

if TYPE_CHECKING:
    from numpy.typing import NDArray

NPZ_LIMIT_BYTES = 2**32


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationFolder:
    """An evaluation set in a folder, its manifest read."""

    path: Path
    digest: Digest
    manifest: bytes
    content: EvaluationSet

    @property
    def blobs(self) -> FolderBlobs:
        """Where its shards are."""
        return FolderBlobs(self.path / BLOBS_FOLDER)


def is_evaluation_folder(path: Path) -> bool:
    """Say whether a folder holds an evaluation set."""
    return (path / EVALSET_FILE).is_file()


def open_evaluation_set(path: Path, *, scratch: Path) -> EvaluationFolder:
    """Return an evaluation set from its folder, or from an ``.npz`` that is written to one.

    Args:
        path: A folder with ``evalset.json``, or an ``.npz`` of arrays of equal length, one a
            column.
        scratch: Where the folder of an ``.npz`` is made.

    Returns:
        The folder, read.

    Raises:
        InputError: If the path is neither, or its content is not valid.
    """
    if path.suffix == ".npz":
        path = _write_folder(path, scratch / path.stem)
    if not is_evaluation_folder(path):
        raise InputError(
            str(path),
            expected=f"a folder with {EVALSET_FILE}, or an .npz file",
            found="neither",
            remedy="Make one with `stageaudit data from-jsonl`, from-csv, from-parquet or "
            "from-images, or pass an .npz whose arrays are the columns.",
        )
    manifest = (path / EVALSET_FILE).read_bytes()
    return EvaluationFolder(
        path=path,
        digest=sha256(manifest),
        manifest=manifest,
        content=parse_evaluation_set(manifest),
    )


def _write_folder(archive: Path, folder: Path) -> Path:
    if archive.stat().st_size > NPZ_LIMIT_BYTES:
        raise InputError(
            str(archive),
            expected=f"at most {NPZ_LIMIT_BYTES} bytes",
            found=f"{archive.stat().st_size} bytes",
            remedy="Write a folder with auditor.record.evalset_folder.",
        )
    with needs_extra("record", purpose=f"Reading {archive.name}"):
        import numpy as np

        from auditor.record.evalset_folder import write_evaluation_folder
    try:
        # allow_pickle=False: an archive from elsewhere must not be able to run code.
        with archive.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            columns = {name: _column(arrays[name]) for name in arrays.files}
    except (OSError, ValueError, TypeError, BadZipFile) as error:
        raise InputError(
            str(archive),
            expected="an .npz of plain arrays",
            found=error,
            remedy="Write it with numpy.savez, without object arrays.",
        ) from error
    write_evaluation_folder(folder, name=archive.stem, columns=columns)
    return folder


def _column(array: "NDArray[Any]") -> "NDArray[Any] | list[str]":
    """Return text as a list of strings, numbers as they are."""
    return [str(text) for text in array] if array.dtype.kind == "U" else array
