"""Images against transformers' own processors; hostile and odd files are refused by name."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from auditor.errors import AuditorError, InputError, ResourceError, UnsupportedError
from auditor.record.image_pixels import IMAGE_LIMIT_BYTES, read_image
from auditor.record.image_processor import read_preprocessing
from auditor.record.preprocessing import Preprocessing, Resize


def photo(path: Path, size: tuple[int, int] = (10, 13), mode: str = "RGB") -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


def processors() -> dict[str, Any]:
    from transformers import CLIPImageProcessorPil, ConvNextImageProcessorPil, ViTImageProcessorPil

    return {
        "exact": ViTImageProcessorPil(size={"height": 7, "width": 5}, resample=3),
        "cropped": CLIPImageProcessorPil(size={"shortest_edge": 9}, crop_size=6),
        "part": ConvNextImageProcessorPil(size={"shortest_edge": 7}),
        "plain": ViTImageProcessorPil(do_resize=False, do_normalize=False),
    }


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("kind", ["exact", "cropped", "part", "plain"])
@pytest.mark.parametrize("size", [(10, 13), (31, 17)])
def test_pixels_are_those_of_the_library(tmp_path: Path, kind: str, size: tuple[int, int]) -> None:
    processor = processors()[kind]
    processor.save_pretrained(tmp_path)
    path = photo(tmp_path / "a.png", size)
    expected = processor(Image.open(path), return_tensors="pt")["pixel_values"][0]

    found = read_image(path, read_preprocessing(tmp_path), where="a")

    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_channels_layout_and_dtype_are_as_declared(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.png")
    plain = read_image(path, Preprocessing(), where="a")

    assert plain.shape == (3, 10, 13)
    assert read_image(path, Preprocessing(channels="BGR"), where="a").equal(plain.flip(0))
    assert read_image(path, Preprocessing(layout="HWC"), where="a").equal(plain.permute(1, 2, 0))
    assert read_image(path, Preprocessing(channels="L"), where="a").shape == (1, 10, 13)
    assert read_image(path, Preprocessing(dtype="float64"), where="a").dtype == torch.float64


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_other_plain_modes_become_colours(tmp_path: Path, mode: str) -> None:
    assert (
        read_image(photo(tmp_path / "a.png", mode=mode), Preprocessing(), where="a").shape[0] == 3
    )


def test_the_cameras_note_is_followed_when_declared(tmp_path: Path) -> None:
    image = Image.open(photo(tmp_path / "a.png"))
    turned = Image.Exif()
    turned[0x0112] = 6
    image.save(tmp_path / "b.png", exif=turned)

    stored = read_image(tmp_path / "b.png", Preprocessing(), where="b")
    upright = read_image(tmp_path / "b.png", Preprocessing(orientation="exif"), where="b")

    assert upright.equal(stored.rot90(-1, dims=(1, 2)))


def header_of(width: int, height: int) -> bytes:
    """Return a PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 100)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("edges", [(9000, 9000), (2**31 - 1, 2**31 - 1), (10**8, 1)])
def test_a_decompression_bomb_is_refused_by_its_header(
    tmp_path: Path, edges: tuple[int, int]
) -> None:
    (tmp_path / "a.png").write_bytes(header_of(*edges))

    with pytest.raises(AuditorError, match=r"a\.png"):
        read_image(tmp_path / "a.png", Preprocessing(), where="a.png")


def test_too_large_a_file_is_not_opened(tmp_path: Path) -> None:
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(IMAGE_LIMIT_BYTES + 1)

    with pytest.raises(ResourceError):
        read_image(tmp_path / "a.png", Preprocessing(), where="a")


def test_a_resize_that_blows_up_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (30_000, 1)).save(tmp_path / "a.png")
    resize = Resize(kind="shortest_edge", height=4096, width=4096)

    with pytest.raises(ResourceError, match="pixels after resizing"):
        read_image(tmp_path / "a.png", Preprocessing(resize=resize), where="a")


def test_frames_and_deep_channels_are_refused(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:])
    Image.new("I;16", (4, 4)).save(tmp_path / "b.png")

    for name, found in (("a.webp", "2 frames"), ("b.png", "mode")):
        with pytest.raises(UnsupportedError, match=found):
            read_image(tmp_path / name, Preprocessing(), where=name)


@pytest.mark.parametrize("content", [b"", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"GIF89a", b"no image"])
def test_what_is_no_image_of_ours_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)

    with pytest.raises(InputError, match="a whole image"):
        read_image(tmp_path / "a.png", Preprocessing(), where="a")


@settings(max_examples=60)
@given(st.data())
def test_a_damaged_image_is_refused_or_has_its_shape(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    kind = data.draw(st.sampled_from(["png", "jpg", "webp", "bmp", "tiff"]))
    path = photo(tmp_path_factory.mktemp("image") / f"a.{kind}")
    whole = bytearray(path.read_bytes())
    for _ in range(3):
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(whole[: data.draw(st.integers(1, len(whole)))])
    crop = Preprocessing(resize=Resize(kind="exact", height=5, width=4))

    try:
        found = read_image(path, crop, where="a")
    except AuditorError:
        return
    assert found.shape == (3, 5, 4)
    assert found.isfinite().all()


def test_an_image_smaller_than_its_crop_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="10x13"):
        read_image(photo(tmp_path / "a.png"), Preprocessing(crop=(11, 4)), where="a")
