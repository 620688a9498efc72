"""Declarations of image preprocessing: their domains, their digests, what folders say."""

import json
from pathlib import Path
from typing import Any

import pytest

from auditor.errors import AuditorError, InputError, UnsupportedError
from auditor.record.image_processor import from_image_processor, read_preprocessing
from auditor.record.preprocessing import Preprocessing, Resize, by_fields
from auditor.stagelog.digest import canonical_bytes

VIT = {
    "image_processor_type": "ViTImageProcessor",
    "do_resize": True,
    "size": {"height": 8, "width": 6},
    "resample": 3,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.1, 0.2, 0.3],
}


def test_a_folder_of_the_library_says_the_same_as_the_steps_by_hand(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(VIT))

    found = read_preprocessing(tmp_path)

    by_hand = Preprocessing(
        resize=Resize(kind="exact", height=8, width=6, resample="bicubic"),
        mean=(0.5, 0.4, 0.3),
        std=(0.1, 0.2, 0.3),
    )
    assert found == by_hand
    assert found.digest == by_hand.digest


def test_what_was_written_is_read_again_and_goes_first(tmp_path: Path) -> None:
    own = Preprocessing(channels="L", layout="HWC")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(VIT))
    (tmp_path / "preprocessing.json").write_bytes(canonical_bytes(own))

    assert read_preprocessing(tmp_path) == own
    assert read_preprocessing(tmp_path / "preprocessing.json") == own


@pytest.mark.parametrize(
    "change",
    [
        {"channels": "BGR"},
        {"resize": Resize(kind="exact", height=8, width=8)},
        {"crop": (4, 4)},
        {"scale": 1.0},
        {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)},
        {"layout": "HWC"},
        {"orientation": "exif"},
        {"dtype": "float64"},
    ],
)
def test_every_step_is_part_of_the_digest(change: dict[str, Any]) -> None:
    assert Preprocessing(**change).digest != Preprocessing().digest
    assert Preprocessing(**change).words


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"mean": (0.5,), "std": (0.5,)}, "mean, std"),
        ({"mean": (0.5, 0.5, 0.5)}, "mean, std"),
        ({"mean": (0.0,) * 3, "std": (1.0, 0.0, 1.0)}, "std"),
        ({"scale": -1.0}, "scale"),
        ({"scale": float("inf")}, "scale"),
        ({"crop": (9, 4), "resize": {"kind": "exact", "height": 8, "width": 8}}, "crop"),
        ({"resize": {"kind": "exact", "height": 10**6, "width": 8}}, "resize"),
    ],
)
def test_what_contradicts_itself_is_named(fields: dict[str, Any], where: str) -> None:
    with pytest.raises(AuditorError, match=where):
        by_fields(fields)


def test_a_crop_of_the_shortest_edge() -> None:
    found = from_image_processor(
        VIT
        | {"size": {"shortest_edge": 16}, "do_center_crop": True, "crop_size": 12}
        | {"image_processor_type": "CLIPImageProcessor", "do_convert_rgb": True},
        where="here",
    )

    assert found.resize == Resize(kind="shortest_edge", height=16, width=16, resample="bicubic")
    assert found.crop == (12, 12)


def test_convnext_cuts_a_part_off_small_images_only() -> None:
    kind = VIT | {"image_processor_type": "ConvNextImageProcessor", "crop_pct": 0.875}

    small = from_image_processor(kind | {"size": {"shortest_edge": 224}}, where="here")
    large = from_image_processor(kind | {"size": {"shortest_edge": 384}}, where="here")

    assert small.resize == Resize(kind="shortest_edge", height=256, width=256, resample="bicubic")
    assert small.crop == (224, 224)
    assert large.resize == Resize(kind="exact", height=384, width=384, resample="bicubic")
    assert large.crop is None


def test_steps_that_are_off_are_left_out() -> None:
    off = {name: False for name in VIT if name.startswith("do_")}

    assert from_image_processor(VIT | off, where="here") == Preprocessing(scale=1.0)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"do_pad": True}, "do_pad"),
        ({"image_processor_type": "DonutImageProcessor"}, "image_processor_type"),
        ({"size": 224}, "size"),
        ({"size": {"longest_edge": 8}}, "size"),
        ({"size": {"height": 0, "width": 8}}, "size"),
        ({"resample": 9}, "resample"),
        ({"image_mean": 0.5}, "image_mean"),
    ],
)
def test_steps_that_are_not_treated_are_named(change: dict[str, Any], where: str) -> None:
    with pytest.raises(UnsupportedError, match=where):
        from_image_processor(VIT | change, where="here")


@pytest.mark.parametrize("content", [None, "[]", "{", '{"schema": "stageaudit.preprocessing.v1"'])
def test_a_folder_without_a_declaration_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "preprocessing.json").write_text(content)

    with pytest.raises(InputError):
        read_preprocessing(tmp_path)


def test_unknown_fields_of_our_own_declaration_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "preprocessing.json"
    path.write_text('{"schema": "stageaudit.preprocessing.v1", "sharpen": 1}')

    with pytest.raises(AuditorError, match="sharpen"):
        read_preprocessing(path)
