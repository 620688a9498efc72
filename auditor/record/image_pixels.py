"""An image file as a tensor: decoded within bounds, then prepared as declared; needs Pillow."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from auditor.checks import needs_extra
from auditor.errors import InputError, ResourceError, UnsupportedError
from auditor.record.preprocessing import Preprocessing, Resize

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_LIMIT_BYTES = 2**26
PIXELS_LIMIT = 2**26
"""Pixels of an image before it is resized: 64 million, as a header declares them."""

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".pgm", ".tif", ".tiff"})
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "PPM", "TIFF")
"""Formats that need no outside program; Pillow opens a file by its content, not its suffix."""

_PLAIN_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})


def read_image(path: Path, preprocessing: Preprocessing, *, where: str) -> Tensor:
    """Return an image as the model takes it, [C, H, W] or [H, W, C] as declared.

    The same steps as of Hugging Face's image processors on Pillow, in float32 until the end.

    Args:
        path: The file.
        preprocessing: What is done to it.
        where: What messages call it.

    Raises:
        InputError: If the file is no whole image, or the image smaller than its crop.
        ResourceError: If the file is larger than 64 MiB, or the image has more than 64 million
            pixels.
        UnsupportedError: If it has several frames or more than 8 bits a channel.
    """
    with needs_extra("images", purpose="Reading images"):
        from PIL import Image, ImageOps  # noqa: PLC0415 - an extra
    try:
        _require_size(path, where=where)
        with warnings.catch_warnings():
            # Pillow warns of what is refused below, and of damaged notes beside the pixels.
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_FORMATS) as opened:
                _require_plain(opened, where=where)
                turned = preprocessing.orientation == "exif"
                upright = ImageOps.exif_transpose(opened) if turned else opened
                image = upright.convert("L" if preprocessing.channels == "L" else "RGB")
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise InputError(
            where,
            expected="a whole image: JPEG, PNG, WebP, BMP, PPM or TIFF",
            found=" ".join(str(error).split()),
            remedy="Convert the file, or leave it out.",
        ) from error
    return _prepared(image, preprocessing, where=where)


def _require_size(path: Path, *, where: str) -> None:
    size = path.stat().st_size
    if size > IMAGE_LIMIT_BYTES:
        raise ResourceError(
            where,
            expected=f"an image of at most {IMAGE_LIMIT_BYTES} bytes",
            found=size,
            remedy="Resize the image, or leave it out.",
        )


def _require_plain(image: "Image", *, where: str) -> None:
    """Refuse what must not or cannot be decoded; only the header has been read so far."""
    pixels = image.width * image.height
    if pixels > PIXELS_LIMIT:
        raise ResourceError(
            where,
            expected=f"at most {PIXELS_LIMIT} pixels",
            found=f"{image.width}x{image.height}",
            remedy="Resize the image, or leave it out.",
        )
    frames = getattr(image, "n_frames", 1)
    if frames != 1 or image.mode not in _PLAIN_MODES:
        raise UnsupportedError(
            where,
            expected="one frame with at most 8 bits a channel",
            found=f"{frames} frames" if frames != 1 else f"mode {image.mode}",
            remedy="Convert the image to 8 bits a channel, or leave it out: how the training "
            "scaled it is not known.",
        )


def _prepared(image: "Image", preprocessing: Preprocessing, *, where: str) -> Tensor:
    if preprocessing.resize is not None:
        image = _resized(image, preprocessing.resize, where=where)
    values = np.asarray(image, dtype=np.uint8)  # [H, W] or [H, W, 3]
    values = values.reshape(*values.shape[:2], preprocessing.depth)
    if preprocessing.crop is not None:
        values = _middle(values, preprocessing.crop, where=where)
    if preprocessing.channels == "BGR":
        values = values[..., ::-1]
    scaled = values.astype(np.float32) * np.float32(preprocessing.scale)
    if preprocessing.mean:
        mean, std = (
            np.asarray(v, dtype=np.float32) for v in (preprocessing.mean, preprocessing.std)
        )
        scaled = (scaled - mean) / std
    if preprocessing.layout == "CHW":
        scaled = scaled.transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(scaled)).to(_DTYPES[preprocessing.dtype])


_DTYPES = {"float32": torch.float32, "float64": torch.float64, "float16": torch.float16}


def _resized(image: "Image", resize: Resize, *, where: str) -> "Image":
    from PIL.Image import Resampling  # noqa: PLC0415 - an extra

    height, width = resize.height, resize.width
    if resize.kind == "shortest_edge":
        # The longer edge is rounded down, as torchvision and transformers do.
        short, long = sorted((image.height, image.width))
        longer = max(1, int(resize.height * long / short))
        height, width = (
            (resize.height, longer) if image.height <= image.width else (longer, resize.height)
        )
    if height * width > PIXELS_LIMIT:  # one edge of a few pixels beside a long one
        raise ResourceError(
            where,
            expected=f"at most {PIXELS_LIMIT} pixels after resizing",
            found=f"{width}x{height}",
            remedy="Leave the image out.",
        )
    return image.resize((width, height), Resampling[resize.resample.upper()])


def _middle(values: "np.ndarray", size: tuple[int, int], *, where: str) -> "np.ndarray":
    """Return the middle of an image [H, W, C]."""
    height, width = values.shape[:2]
    if height < size[0] or width < size[1]:
        raise InputError(
            where,
            expected=f"at least {size[0]}x{size[1]} pixels, the crop",
            found=f"{height}x{width}",
            remedy="Resize before the crop, or leave the image out.",
        )
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    return values[top : top + size[0], left : left + size[1]]
