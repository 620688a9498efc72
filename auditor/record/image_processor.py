"""The preprocessing that a folder declares: ours, or a Hugging Face image processor's."""

from pathlib import Path
from typing import Any

from auditor.edge.folder import read_file
from auditor.errors import InputError, UnsupportedError
from auditor.record.preprocessing import (
    MOST_PIXELS,
    PREPROCESSING_FILE,
    PREPROCESSING_SCHEMA,
    Preprocessing,
    Resampling,
    Resize,
    checked,
)
from auditor.record.text_tokenizer import read_json_object
from auditor.stagelog.strict_json import load_object, parse_record

HF_FILE = "preprocessor_config.json"


def read_preprocessing(path: Path) -> Preprocessing:
    """Return the declaration in a file, or in a folder that has one.

    Args:
        path: ``preprocessing.json`` as ``stageaudit data from-images`` writes it,
            ``preprocessor_config.json`` as Hugging Face's image processors do, or a folder with
            one of them.

    Raises:
        InputError: If there is none, or it is not valid.
        UnsupportedError: If it asks for steps that are not treated here.
    """
    for name in (PREPROCESSING_FILE, HF_FILE):
        if (path / name).is_file():
            return read_preprocessing(path / name)
    if not path.is_file():
        raise InputError(
            str(path),
            expected=f"{PREPROCESSING_FILE} or {HF_FILE}, or a folder with one of them",
            found="none",
            remedy="Save the image processor there with processor.save_pretrained(FOLDER), or say "
            "the steps with --size, --mean and --std.",
        )
    plain = read_json_object(path)
    if plain.get("schema") == PREPROCESSING_SCHEMA:
        data = read_file(path, remedy="Check the path.")
        load_object(data, where=path.name)
        return checked(parse_record(Preprocessing, data, where=path.name), where=path.name)
    return checked(from_image_processor(plain, where=path.name), where=path.name)


_STEPS = frozenset({
    "do_convert_rgb", "do_resize", "size", "resample", "do_center_crop", "crop_size",
    "do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std", "crop_pct",
})  # fmt: skip
_OF_NO_EFFECT = frozenset({
    "image_processor_type", "feature_extractor_type", "processor_class", "return_tensors",
    "data_format", "input_data_format", "device", "disable_grouping",
})  # fmt: skip
_RESAMPLINGS: tuple[Resampling, ...] = (
    "nearest", "lanczos", "bilinear", "bicubic", "box", "hamming",
)  # fmt: skip
"""By Pillow's number of each, which these files hold."""

_KINDS = ("ViT", "DeiT", "BiT", "Bit", "CLIP", "ConvNext", "MobileNetV1", "MobileNetV2")
_WHOLE_FROM = 384


def from_image_processor(plain: dict[str, Any], *, where: str) -> Preprocessing:
    """Return what a Hugging Face image processor's settings say.

    Raises:
        UnsupportedError: If they turn on a step that is not treated, or leave out what is needed.
    """
    for name, value in plain.items():
        if name not in _STEPS | _OF_NO_EFFECT and value not in (None, False):
            raise UnsupportedError(
                f"{where}: {name}",
                expected="resizing, a centre crop, rescaling and normalising only",
                found=value,
                remedy="Prepare the images with the processor itself, save the arrays with "
                "numpy.savez, and pass the .npz as evaluation data.",
            )
    kind = str(plain.get("image_processor_type") or plain.get("feature_extractor_type") or "ViT")
    if not kind.startswith(_KINDS):
        raise UnsupportedError(
            f"{where}: image_processor_type",
            expected="one that begins with " + ", ".join(_KINDS),
            found=kind,
            remedy="If it does no more than resize, crop the centre, rescale and normalise, say "
            "so with --size, --crop, --mean and --std.",
        )
    resize = _resize(plain, where=where) if plain.get("do_resize") else None
    crop = _size(plain, "crop_size", where=where) if plain.get("do_center_crop") else None
    if kind.startswith("ConvNext") and resize is not None:
        resize, crop = _cut_by_part(plain, resize, where=where)
    normalises = bool(plain.get("do_normalize"))
    return Preprocessing(
        resize=resize,
        crop=crop,
        scale=float(plain.get("rescale_factor", 1 / 255)) if plain.get("do_rescale") else 1.0,
        mean=_numbers(plain, "image_mean", where=where) if normalises else (),
        std=_numbers(plain, "image_std", where=where) if normalises else (),
    )


def _cut_by_part(
    plain: dict[str, Any], resize: Resize, *, where: str
) -> tuple[Resize, tuple[int, int] | None]:
    """Return what ConvNext's processor does: below 384 pixels it cuts a part off the edges."""
    edge, part = resize.height, plain.get("crop_pct", 224 / 256)
    if not isinstance(part, float | int) or not 0 < part <= 1:
        raise _odd(f"{where}: crop_pct", "a number from 0 to 1", part)
    if edge >= _WHOLE_FROM:
        return resize.model_copy(update={"kind": "exact"}), None
    before = _edge(int(edge / part), where=f"{where}: crop_pct")
    return resize.model_copy(update={"height": before, "width": before}), (edge, edge)


def _resize(plain: dict[str, Any], *, where: str) -> Resize:
    number = plain.get("resample", 2)
    if not isinstance(number, int) or not 0 <= number < len(_RESAMPLINGS):
        raise _odd(f"{where}: resample", "a number from 0 to 5, as Pillow has them", number)
    size = plain.get("size")
    resample = _RESAMPLINGS[number]
    if isinstance(size, dict) and set(size) == {"shortest_edge"}:
        edge = _edge(size["shortest_edge"], where=f"{where}: size.shortest_edge")
        return Resize(kind="shortest_edge", height=edge, width=edge, resample=resample)
    height, width = _size(plain, "size", where=where)
    return Resize(kind="exact", height=height, width=width, resample=resample)


def _size(plain: dict[str, Any], name: str, *, where: str) -> tuple[int, int]:
    found = plain.get(name)
    at = f"{where}: {name}"
    if isinstance(found, dict) and {"height", "width"} == set(found):
        return _edge(found["height"], where=at), _edge(found["width"], where=at)
    if isinstance(found, int) and name == "crop_size":
        return _edge(found, where=at), _edge(found, where=at)
    raise _odd(at, "a height and a width", found)


def _edge(value: object, *, where: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_PIXELS:
        return value
    raise _odd(where, f"a whole number of pixels from 1 to {MOST_PIXELS}", value)


def _numbers(plain: dict[str, Any], name: str, *, where: str) -> tuple[float, ...]:
    found = plain.get(name)
    if isinstance(found, list) and all(isinstance(value, int | float) for value in found):
        return tuple(float(value) for value in found)
    raise _odd(f"{where}: {name}", "a number for each channel", found)


def _odd(where: str, expected: str, found: object) -> UnsupportedError:
    return UnsupportedError(
        where,
        expected=expected,
        found=found,
        remedy="Say the steps with --size, --mean and --std instead.",
    )
