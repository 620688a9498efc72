"""``stageaudit data from-images``: images to an evaluation set."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from auditor.checks import needs_extra
from auditor.errors import InputError
from service.cli.data_show import OutputOption, finish, names_of
from service.cli.output import JsonOption, progress

STEPS = "What is done to each image"
LABELS = "What is known of each image"
FIT = "The log it is for"


def from_images(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="The images: a folder for each class, or as --labels names them.",
            exists=True,
            file_okay=False,
        ),
    ],
    output: OutputOption,
    preprocessing: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Model folder with preprocessor_config.json, an evaluation set made here, or the "
            "file itself; instead of the steps below.",
            exists=True,
            rich_help_panel=STEPS,
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="HxW|N",
            help="Resize to this height and width, or the shortest edge to N; default: as it is.",
            rich_help_panel=STEPS,
        ),
    ] = None,
    crop: Annotated[
        str | None,
        typer.Option(metavar="HxW", help="Keep the middle of it.", rich_help_panel=STEPS),
    ] = None,
    resample: Annotated[
        Literal["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"],
        typer.Option(help="How pixels are resized.", rich_help_panel=STEPS),
    ] = "bilinear",
    channels: Annotated[
        Literal["RGB", "BGR", "L"],
        typer.Option(help="Their order; L is grey.", rich_help_panel=STEPS),
    ] = "RGB",
    scale: Annotated[
        float,
        typer.Option(help="What 0 to 255 is multiplied with.", rich_help_panel=STEPS),
    ] = 1 / 255,
    mean: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,C", help="Subtracted a channel, after scaling.", rich_help_panel=STEPS
        ),
    ] = None,
    std: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,C", help="What each channel is divided by then.", rich_help_panel=STEPS
        ),
    ] = None,
    layout: Annotated[
        Literal["CHW", "HWC"],
        typer.Option(help="Where the channels are.", rich_help_panel=STEPS),
    ] = "CHW",
    orientation: Annotated[
        Literal["as_stored", "exif"],
        typer.Option(
            help="Whether the camera's note of which side is up is followed.",
            rich_help_panel=STEPS,
        ),
    ] = "as_stored",
    dtype: Annotated[
        Literal["float32", "float64", "float16"],
        typer.Option(help="Of the tensors.", rich_help_panel=STEPS),
    ] = "float32",
    column: Annotated[
        str | None,
        typer.Option(
            help="Name of their column; default: what the log reads, else pixel_values.",
            rich_help_panel=STEPS,
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="JSONL, CSV or Parquet, a row an image: columns file and label.",
            exists=True,
            dir_okay=False,
            rich_help_panel=LABELS,
        ),
    ] = None,
    file: Annotated[
        str, typer.Option(help="Its column of the path.", rich_help_panel=LABELS)
    ] = "file",
    label: Annotated[
        str, typer.Option(help="Its column of the class.", rich_help_panel=LABELS)
    ] = "label",
    classes: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...",
            help="Names of the classes in the order of their numbers; default: as the log or "
            "config.json numbers them, else in the order of the alphabet.",
            rich_help_panel=LABELS,
        ),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="Take this column of the file over (repeat for more); default: source, group, "
            "cluster, licence, consent, personal_data.",
            rich_help_panel=LABELS,
        ),
    ] = None,
    ids: Annotated[
        str | None,
        typer.Option(
            "--id",
            metavar="COLUMN",
            help="What tells images apart and aligns probes; default: the path.",
            rich_help_panel=LABELS,
        ),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Follow this log: its column, its order of classes; refuse what it would not "
            "take.",
            exists=True,
            file_okay=False,
            rich_help_panel=FIT,
        ),
    ] = None,
    stage: Annotated[
        str | None,
        typer.Option(
            help="The stage that reads it, for a reference; default: the last.",
            rich_help_panel=FIT,
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What reports call it; default: the folder's name.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make an evaluation set, or a reference for `replace`, of images.

    `stageaudit data from-images photos --preprocessing final --log runs/42 -o heldout` takes a
    folder for each class (photos/cat, photos/dog) and prepares each image as the model's folder
    says. `--size 224x224 --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5` says it by hand.

    The set names the digest of these steps; an audit refuses it where the log names another.
    """
    with needs_extra("record", purpose="stageaudit data"):
        from auditor.record.preprocessing import by_fields
        from service.data_images import ImageSettings, write_image_set
    by_hand: dict[str, Any] = {
        "--size": size, "--crop": crop, "--mean": mean, "--std": std,
    }  # fmt: skip
    given = next((option for option, value in by_hand.items() if value is not None), None)
    if preprocessing is not None and given is not None:
        raise typer.BadParameter("goes without --preprocessing", param_hint=given)
    steps = preprocessing or by_fields({
        "channels": channels,
        "resize": None if size is None else _resize(size, resample=resample),
        "crop": None if crop is None else _edges(crop, option="--crop"),
        "scale": scale,
        "mean": _numbers(mean, option="--mean"),
        "std": _numbers(std, option="--std"),
        "layout": layout,
        "orientation": orientation,
        "dtype": dtype,
    })
    settings = ImageSettings(
        preprocessing=steps,
        name=name,
        labels=labels,
        file=file,
        label=label,
        classes=None if classes is None else names_of(classes),
        column=column,
        keep=None if keep is None else tuple(keep),
        ids=ids,
        log=log,
        stage=stage,
    )
    with progress("reading", unit="images", quiet=as_json) as on_progress:
        made = write_image_set(folder, output, settings=settings, on_progress=on_progress)
    finish(output, made=made, as_json=as_json)


MOST_PIXELS = 2**13


def _resize(text: str, *, resample: str) -> dict[str, Any]:
    height, width = _edges(text, option="--size")
    kind = "exact" if "x" in text.lower() else "shortest_edge"
    return {"kind": kind, "height": height, "width": width, "resample": resample}


def _edges(text: str, *, option: str) -> tuple[int, int]:
    """Return height and width; of a single number both."""
    parts = text.lower().split("x")
    if len(parts) in {1, 2} and all(part.isascii() and part.isdigit() for part in parts):
        numbers = [int(part[:9]) for part in parts]
        if all(1 <= number <= MOST_PIXELS for number in numbers):
            return numbers[0], numbers[-1]
    raise InputError(
        option,
        expected=f"HEIGHTxWIDTH, each from 1 to {MOST_PIXELS}",
        found=text,
        remedy="Write 224x224.",
    )


def _numbers(text: str | None, *, option: str) -> tuple[float, ...]:
    try:
        return () if text is None else tuple(float(part) for part in names_of(text))
    except ValueError as error:
        raise InputError(
            option,
            expected="numbers, one a channel",
            found=text,
            remedy="Write 0.5,0.5,0.5.",
        ) from error
