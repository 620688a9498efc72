"""Folders of images to an evaluation set, prepared as the model's own training images were."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

import torch
from torch import Tensor

from auditor.edge.folder import write_durably
from auditor.errors import InputError, ShapeError
from auditor.record.csv_rows import read_csv
from auditor.record.evalset import SHARD_BYTES
from auditor.record.evalset_parts import write_in_parts
from auditor.record.fitted_columns import StageColumns, fitted
from auditor.record.hf_config import CONFIG_FILE
from auditor.record.image_files import FILE, LABEL, ImageFiles, folders_of_classes, labelled_files
from auditor.record.image_pixels import read_image
from auditor.record.image_processor import read_preprocessing
from auditor.record.jsonl_rows import read_jsonl
from auditor.record.new_folder import new_folder, require_free
from auditor.record.parquet_rows import read_parquet
from auditor.record.preprocessing import PREPROCESSING_FILE, Preprocessing, checked
from auditor.record.table import Table
from auditor.record.table_columns import USUAL_COLUMNS
from auditor.record.text_tokenizer import read_json_object
from auditor.stagelog.digest import canonical_bytes
from service.data_tables import Made, Progress, require_encoding, stage_of


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ImageSettings:
    """What is made of the images.

    Attributes:
        name: What reports call the set; None for the folder's name.
        preprocessing: What is done to each image: the steps, or where they are declared.
        labels: A JSONL, CSV or Parquet file with a row an image; None for a folder a class.
        file: Its column of the path.
        label: Its column of the class.
        classes: Names of the classes in their order.
        column: Name of the column of tensors; None for the stage's only input, or pixel_values.
        keep: Columns of the file to take over; None for the usual ones.
        ids: Column of the file that tells images apart; None for the path.
        log: Folder of the log that the set is for.
        stage: Stage of it that reads the set; None for the last.
    """

    preprocessing: Preprocessing | Path
    name: str | None = None
    labels: Path | None = None
    file: str = FILE
    label: str = LABEL
    classes: Sequence[str] | None = None
    column: str | None = None
    keep: Sequence[str] | None = None
    ids: str | None = None
    log: Path | None = None
    stage: str | None = None


COLUMN = "pixel_values"


def write_image_set(
    root: Path,
    out: Path,
    *,
    settings: ImageSettings,
    on_progress: Progress = lambda _done, _total: None,
) -> Made:
    """Return what was found while images were written as an evaluation set.

    ``preprocessing.json`` beside the manifest says what was done to them.

    Args:
        root: The folder of the images.
        out: A folder that is absent or empty; written in full or not at all.
        settings: What is made of them.
        on_progress: Told how many images of how many are read.

    Raises:
        AuditorError: If an image or a label is refused, or the set does not fit the log.
    """
    require_free(out)
    target = None if settings.log is None else stage_of(settings.log, settings.stage)
    steps = settings.preprocessing
    preprocessing = (
        checked(steps, where="preprocessing")
        if isinstance(steps, Preprocessing)
        else read_preprocessing(steps)
    )
    name = settings.name or root.resolve().name
    require_encoding(target, preprocessing=preprocessing.digest, name=name)
    images = _listed(root, settings, target=target)
    large = settings.column or _only_input(target) or COLUMN
    columns = dict(images.columns)
    if target is not None:
        # The first image stands for all: parts of another shape are refused as they come.
        first = read_image(_path(images, 0), preprocessing, where=images.places[0])
        sample = {**columns, large: first.expand(len(images.files), *first.shape)}
        columns = fitted(sample, target, label=LABEL, where=name)
        del columns[large]
    with new_folder(out) as folder:
        write_in_parts(
            folder,
            name=name,
            columns=columns,
            large=large,
            parts=_parts(images, preprocessing, on_progress=on_progress),
            preprocessing=preprocessing.digest,
        )
        write_durably(folder / PREPROCESSING_FILE, canonical_bytes(preprocessing), mode=0o644)
    notes = [preprocessing.words]
    if images.passed_over:
        notes.append(f"{images.passed_over} files that are no images were passed over")
    return Made(classes=images.classes, notes=tuple(notes))


def _listed(root: Path, settings: ImageSettings, *, target: StageColumns | None) -> ImageFiles:
    classes = _classes(settings, target=target)
    if settings.labels is None:
        return folders_of_classes(root, classes=classes)
    table = _read_labels(settings.labels, settings)
    keep = settings.keep
    if keep is None:
        keep = [name for name in USUAL_COLUMNS if table.everywhere(name)]
    return labelled_files(
        root,
        table,
        file=settings.file,
        label=settings.label,
        classes=classes,
        ids=settings.ids,
        keep=keep,
    )


def _read_labels(path: Path, settings: ImageSettings) -> Table:
    known: Mapping[str, Literal["jsonl", "csv", "parquet"]] = {
        ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet",
    }  # fmt: skip
    match known.get(path.suffix.lower()):
        case "jsonl":
            return read_jsonl(path)
        case "csv":
            return read_csv(path, texts=(settings.file,))
        case "parquet":
            return read_parquet(path)
        case _:
            raise InputError(
                str(path),
                expected="a file of labels ending in " + ", ".join(known),
                found=path.suffix or "no ending",
                remedy="Write one row an image with the columns file and label.",
            )


def _classes(settings: ImageSettings, *, target: StageColumns | None) -> Mapping[str, int] | None:
    """Return the classes as the caller, the log or the model's configuration numbers them."""
    if settings.classes is not None:
        return {name: number for number, name in enumerate(settings.classes)}
    if target is not None and target.classes is not None:
        return target.classes
    place = settings.preprocessing
    if isinstance(place, Path):
        folder = place if place.is_dir() else place.parent
        if (folder / CONFIG_FILE).is_file():
            found = read_json_object(folder / CONFIG_FILE).get("label2id")
            if isinstance(found, dict) and all(isinstance(n, int) for n in found.values()):
                return {str(name): number for name, number in found.items()}
    return None


def _only_input(target: StageColumns | None) -> str | None:
    names = [] if target is None else list(target.stage.bindings.inputs.values())
    return names[0] if len(names) == 1 else None


def _path(images: ImageFiles, index: int) -> Path:
    return images.root / images.files[index]


def _parts(
    images: ImageFiles, preprocessing: Preprocessing, *, on_progress: Progress
) -> Iterator[Tensor]:
    """Yield the images in parts of at most a shard's size."""
    waiting: list[Tensor] = []
    size = 0
    for index, place in enumerate(images.places):
        image = read_image(_path(images, index), preprocessing, where=place)
        if waiting and image.shape != waiting[0].shape:
            raise ShapeError(
                place,
                expected=f"shape {list(waiting[0].shape)}, as the images before",
                found=f"shape {list(image.shape)}",
                remedy="Resize all images to one size, with --size or --crop.",
            )
        waiting.append(image)
        size += image.numel() * image.element_size()
        on_progress(index + 1, len(images.places))
        if size >= SHARD_BYTES:
            yield torch.stack(waiting)
            waiting, size = [], 0
    if waiting:
        yield torch.stack(waiting)
