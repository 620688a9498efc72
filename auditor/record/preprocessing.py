"""How an image becomes the tensor that a model takes: the declaration, and its digest."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError

from auditor.errors import InputError
from auditor.stagelog.digest import Digest, digest_of
from auditor.stagelog.record import Record
from auditor.stagelog.strict_json import refusal

PREPROCESSING_SCHEMA: Final = "stageaudit.preprocessing.v1"
PREPROCESSING_FILE = "preprocessing.json"
MOST_PIXELS = 2**13
"""Longest edge of a tensor."""

Edge = Annotated[int, Field(ge=1, le=MOST_PIXELS)]
Resampling = Literal["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"]


class Resize(Record):
    """To an exact size, or so that the shortest edge gets a length and the ratio stays."""

    kind: Literal["exact", "shortest_edge"]
    height: Edge
    width: Edge
    resample: Resampling = "bilinear"


class Preprocessing(Record):
    """Decode, convert to ``channels``, resize, crop the centre, scale, normalise; in this order.

    Attributes:
        channels: Order of the channels; ``L`` is one of grey.
        resize: None keeps the size, which then all images must share.
        crop: Height and width that are cut out of the middle; None for all of it.
        scale: What the values 0 to 255 are multiplied with.
        mean: Subtracted from each channel after scaling; empty for nothing.
        std: What each channel is divided by then; as many as ``mean``.
        layout: Whether channels are the first or the last axis.
        orientation: Whether the camera's note of which side is up is followed.
        dtype: Of the tensor.
    """

    schema_: Annotated[Literal["stageaudit.preprocessing.v1"], Field(alias="schema")] = (
        PREPROCESSING_SCHEMA
    )
    channels: Literal["RGB", "BGR", "L"] = "RGB"
    resize: Resize | None = None
    crop: tuple[Edge, Edge] | None = None
    scale: Annotated[float, Field(gt=0)] = 1 / 255
    mean: Annotated[tuple[float, ...], Field(max_length=3)] = ()
    std: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(max_length=3)] = ()
    layout: Literal["CHW", "HWC"] = "CHW"
    orientation: Literal["as_stored", "exif"] = "as_stored"
    dtype: Literal["float32", "float64", "float16"] = "float32"

    @property
    def depth(self) -> int:
        """Number of channels."""
        return len(self.channels)

    @property
    def digest(self) -> Digest:
        """SHA-256 of the canonical JSON: what a log and an evaluation set name."""
        return digest_of(self)

    @property
    def words(self) -> str:
        """What it does, for people."""
        parts: list[str] = [self.channels]
        if self.resize is not None:
            size = f"{self.resize.height}x{self.resize.width}"
            if self.resize.kind == "shortest_edge":
                size = f"shortest edge {self.resize.height}"
            parts.append(f"resized to {size} ({self.resize.resample})")
        if self.crop is not None:
            parts.append(f"{self.crop[0]}x{self.crop[1]} of the middle")
        parts.append(f"times {self.scale:.6g}")
        if self.mean:
            parts.append(f"mean {list(self.mean)}, std {list(self.std)}")
        return ", ".join([*parts, self.layout, self.dtype])


def by_fields(fields: Mapping[str, Any]) -> Preprocessing:
    """Return the declaration with these fields.

    Raises:
        InputError: If one is outside its domain.
    """
    try:
        return checked(Preprocessing.model_validate(fields), where="preprocessing")
    except ValidationError as error:
        raise refusal(error, where="preprocessing") from error


def checked(preprocessing: Preprocessing, *, where: str) -> Preprocessing:
    """Return a declaration that does not contradict itself.

    Raises:
        InputError: If means or deviations are not one a channel, or a crop exceeds what it is cut
            from.
    """
    mean, std = preprocessing.mean, preprocessing.std
    if len(mean) != len(std) or len(mean) not in {0, preprocessing.depth}:
        raise InputError(
            f"{where}: mean, std",
            expected=f"one number of each for each of {preprocessing.depth} channels, or none",
            found=f"{list(mean)}, {list(std)}",
            remedy="Give both, a number a channel; or neither.",
        )
    resize, crop = preprocessing.resize, preprocessing.crop
    # Of a size that the images bring themselves, the crop is compared with each image.
    if (
        resize is not None
        and crop is not None
        and (crop[0] > resize.height or crop[1] > resize.width)
    ):
        raise InputError(
            f"{where}: crop",
            expected=f"at most {resize.height}x{resize.width}, the size before it",
            found=f"{crop[0]}x{crop[1]}",
            remedy="Resize to more, or crop to less.",
        )
    return preprocessing
