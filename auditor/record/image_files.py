"""Which images there are and what is known of each: a folder a class, or a file of labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import final

from auditor.errors import InputError
from auditor.record.evalset import ColumnValues
from auditor.record.image_pixels import SUFFIXES
from auditor.record.table import ROWS_LIMIT, Table, text_values
from auditor.record.table_columns import ID, class_column, class_of, kept_columns

FILE = "file"
LABEL = "label"
CLASS = "class"


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFiles:
    """Images and their columns.

    Attributes:
        root: The folder that paths are relative to.
        files: Relative paths, with slashes.
        columns: ``id``, ``label`` and what else is known, a value an image.
        classes: Number of each class by its name; None where only numbers are known.
        places: Where each file is named, for messages.
        passed_over: Files that are no images.
    """

    root: Path
    files: Sequence[str]
    columns: Mapping[str, ColumnValues]
    classes: Mapping[str, int] | None
    places: Sequence[str]
    passed_over: int = 0


def folders_of_classes(root: Path, *, classes: Mapping[str, int] | None = None) -> ImageFiles:
    """Return the images of a folder with one folder for each class, in order of their paths.

    Args:
        root: The folder.
        classes: Number of each class; None to number the folders in the order of the alphabet.

    Raises:
        InputError: If there is no image, one lies beside the folders, or a folder is no class.
    """
    files, others = _walk(root)
    loose = next((name for name in files if "/" not in name), None)
    if loose is not None or not files:
        raise InputError(
            str(root),
            expected="a folder of images for each class, such as cat/1.png and dog/2.png",
            found="no image" if not files else f"{loose} beside the folders",
            remedy="Sort the images into folders, or name their classes in a file: --labels "
            "FILE.csv with the columns file and label.",
        )
    names = [PurePosixPath(name).parts[0] for name in files]
    numbers = classes or {name: n for n, name in enumerate(sorted(set(names)))}
    labels = [
        class_of(name, classes=numbers, where=f"{root.name}/{file}")
        for name, file in zip(names, files, strict=True)
    ]
    return ImageFiles(
        root=root,
        files=files,
        columns={ID: files, LABEL: labels, CLASS: names},
        classes=numbers,
        places=[f"{root.name}/{file}" for file in files],
        passed_over=others,
    )


def labelled_files(
    root: Path,
    table: Table,
    *,
    file: str = FILE,
    label: str = LABEL,
    classes: Mapping[str, int] | None = None,
    ids: str | None = None,
    keep: Sequence[str] = (),
) -> ImageFiles:
    """Return the images that a table names, in its order.

    Args:
        root: The folder that the table's paths are relative to.
        table: A row an image.
        file: Column of the path.
        label: Column of the class: its number, or its name.
        classes: Number of each class; None to number names in the order of the alphabet.
        ids: Column that tells images apart; None for the path.
        keep: Further columns to take over.

    Raises:
        InputError: If a row lacks a column, or names a file that is not inside the folder.
    """
    paths = text_values(table, file)
    inside = root.resolve()
    for index, path in enumerate(paths):
        _require_inside(inside, path, where=f"{table.place(index)}: {file}")
    labels, numbers = class_column(table, label, classes=classes)
    return ImageFiles(
        root=root,
        files=paths,
        columns={**kept_columns(table, keep, ids=ids or file), LABEL: labels},
        classes=numbers,
        places=[f"{table.place(index)}: {path}" for index, path in enumerate(paths)],
    )


def _walk(root: Path) -> tuple[list[str], int]:
    """Return relative paths of images, sorted, and how many other files there are."""
    found: list[str] = []
    others = 0
    inside = root.resolve()
    for path in root.rglob("*"):
        relative = path.relative_to(root)
        if any(part.startswith(".") for part in relative.parts) or not path.is_file():
            continue
        if path.suffix.lower() not in SUFFIXES:
            others += 1
            continue
        _require_inside(inside, relative.as_posix(), where=f"{root.name}/{relative.as_posix()}")
        found.append(relative.as_posix())
        if len(found) > ROWS_LIMIT:
            raise InputError(
                str(root),
                expected=f"at most {ROWS_LIMIT} images",
                found="more",
                remedy="Evaluate on a sample of the images.",
            )
    return sorted(found), others


def _require_inside(root: Path, path: str, *, where: str) -> None:
    """Refuse a path that leads out of the folder, by dots or by a link."""
    target = root / path
    if not target.resolve().is_relative_to(root) or not target.is_file():
        raise InputError(
            where,
            expected="a file inside the folder of the images",
            found=path,
            remedy="Write paths relative to the folder, with slashes, without links out of it.",
        )
