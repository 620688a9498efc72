"""Which images a folder's model takes, and under which names its tensors are stored."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from auditor.errors import InputError
from auditor.record.hf_config import HfConfig, read_hf_config
from auditor.record.hf_images import example_pixels
from auditor.record.hf_names import stored_names
from tests.support import raw_files

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def config(folder: Path, **plain: Any) -> HfConfig:
    named = {"architectures": ["ResNetForImageClassification"], **plain}
    (folder / "config.json").write_text(json.dumps(named))
    return read_hf_config(folder)


def test_the_size_is_the_processors_then_the_configurations(tmp_path: Path) -> None:
    found = config(tmp_path, image_size=[6, 5], num_channels=1)
    assert found.takes_images
    assert example_pixels(found, tmp_path).shape == (2, 1, 6, 5)

    size = {"do_resize": True, "size": {"height": 8, "width": 4}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(size))
    assert example_pixels(found, tmp_path).shape == (2, 1, 8, 4)

    crop = {"do_center_crop": True, "crop_size": 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(size | crop))
    assert example_pixels(found, tmp_path).shape == (2, 1, 3, 3)


@pytest.mark.parametrize(
    "plain",
    [{}, {"image_size": 0}, {"image_size": [1, 2, 3]}, {"image_size": 8, "num_channels": 9}],
)
def test_an_unknown_size_is_refused(tmp_path: Path, plain: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        example_pixels(config(tmp_path, **plain), tmp_path)


def test_tensors_of_a_file_find_their_names_in_the_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = raw_files.save_image_models(["saved"])

    renamed = stored_names(model, Path("saved"))

    state = model.state_dict()
    with safe_open("saved/model.safetensors", framework="pt") as file:
        stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
    assert renamed
    assert {renamed.get(name, name) for name in stored} == set(state)
    assert all(torch.equal(state[renamed.get(name, name)], stored[name]) for name in stored)


def test_a_model_that_is_stored_as_it_is_named_has_no_other_names(tmp_path: Path) -> None:
    assert stored_names(torch.nn.Linear(1, 1), tmp_path) == {}
