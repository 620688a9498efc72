"""Which images a Hugging Face model takes: channels, height and width of its pixel values."""

from pathlib import Path

import torch
from torch import Tensor

from auditor.errors import InputError
from auditor.record.hf_config import HfConfig
from auditor.record.image_processor import HF_FILE, read_preprocessing
from auditor.record.preprocessing import PREPROCESSING_FILE

PIXELS = "pixel_values"
EXAMPLES = 2


def example_pixels(config: HfConfig, folder: Path) -> Tensor:
    """Return images that differ, [2, C, H, W], of the size that the model was trained on.

    Args:
        config: The model's configuration.
        folder: Its folder.

    Raises:
        InputError: If neither the configuration nor an image processor beside it says the size.
    """
    height, width = _size(config, folder)
    channels = config.plain.get("num_channels", 3)
    if not isinstance(channels, int) or not 1 <= channels <= 4:
        raise InputError(
            f"{folder.name}/config.json: num_channels",
            expected="a number of channels from 1 to 4",
            found=channels,
            remedy="Save the model again.",
        )
    count = EXAMPLES * channels * height * width
    return torch.sin(torch.arange(count) * 0.7).reshape(EXAMPLES, channels, height, width)


def _size(config: HfConfig, folder: Path) -> tuple[int, int]:
    if any((folder / name).is_file() for name in (PREPROCESSING_FILE, HF_FILE)):
        found = read_preprocessing(folder)
        if found.crop is not None:
            return found.crop
        if found.resize is not None and found.resize.kind == "exact":
            return found.resize.height, found.resize.width
    size = config.plain.get("image_size")
    edges = (size, size) if isinstance(size, int) else size
    if (
        not isinstance(edges, list | tuple)
        or len(edges) != 2
        or not all(isinstance(edge, int) and 1 <= edge <= 4096 for edge in edges)
    ):
        raise InputError(
            str(folder),
            expected=f"the size of the images, in config.json (image_size) or in {HF_FILE}",
            found=size,
            remedy="Save the image processor there: processor.save_pretrained(FOLDER).",
        )
    return int(edges[0]), int(edges[1])
