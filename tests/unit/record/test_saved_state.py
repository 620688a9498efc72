"""Tensors by name from every kind of file and folder that people have."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from auditor.errors import InputError, UnsupportedError
from auditor.record.pickled import ForeignValue
from auditor.record.saved_state import SavedState, read_saved_state

STATE = {"first.weight": torch.arange(6.0).reshape(2, 3), "last.bias": torch.tensor([1.0, -1.0])}


def plain(path: Path) -> object:
    """Read a pickle as the conversion child does, but in this process: the tests wrote it."""
    return torch.load(path, weights_only=True)


def read(path: Path) -> SavedState:
    return read_saved_state(path, read_pickle=plain)


def assert_holds_state(found: SavedState) -> None:
    assert found.tensors.keys() == STATE.keys()
    assert all(found.tensors[name].equal(value) for name, value in STATE.items())


def sharded(folder: Path) -> dict[str, str]:
    """Write the state in two shards and return which file holds what."""
    files = {name: f"model-0000{i}-of-00002.safetensors" for i, name in enumerate(STATE, start=1)}
    for name, file in files.items():
        save_file({name: STATE[name]}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    return files


def test_a_safetensors_file(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "x.safetensors")

    found = read(tmp_path / "x.safetensors")

    assert_holds_state(found)
    assert found.form == "safetensors"


def test_a_folder_with_one_file(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "model.safetensors")

    assert_holds_state(read(tmp_path))


def test_a_folder_with_shards(tmp_path: Path) -> None:
    sharded(tmp_path)

    assert_holds_state(read(tmp_path))


def test_a_folder_with_pickled_shards(tmp_path: Path) -> None:
    files = {name: f"pytorch_model-0000{i}.bin" for i, name in enumerate(STATE)}
    for name, file in files.items():
        torch.save({name: STATE[name]}, tmp_path / file)
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": files}))

    assert_holds_state(read(tmp_path))


def test_safetensors_are_read_before_a_pickle_that_is_never_opened(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "model.safetensors")
    (tmp_path / "pytorch_model.bin").write_bytes(b"not even a pickle")
    (tmp_path / "training_args.bin").write_bytes(b"not even a pickle")

    assert_holds_state(read(tmp_path))


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model_state_dict", "model"])
def test_a_pickled_state_alone_or_wrapped(tmp_path: Path, wrapper: str | None) -> None:
    content = STATE if wrapper is None else {wrapper: STATE, "epoch": 3}
    torch.save(content, tmp_path / "model.pt")

    found = read(tmp_path / "model.pt")

    assert_holds_state(found)
    assert found.form == "state dictionary"


def test_a_lightning_checkpoint_says_its_step(tmp_path: Path) -> None:
    content = {"state_dict": STATE, "pytorch-lightning_version": "2.6", "global_step": 40}
    torch.save(content, tmp_path / "last.ckpt")

    found = read(tmp_path / "last.ckpt")

    assert_holds_state(found)
    assert (found.form, found.step) == ("lightning", 40)


@pytest.mark.parametrize("name", ["../outside.safetensors", "missing.safetensors", "/etc/hostname"])
def test_an_index_names_files_of_its_own_folder_only(tmp_path: Path, name: str) -> None:
    save_file(STATE, tmp_path / "outside.safetensors")
    folder = tmp_path / "model"
    folder.mkdir()
    sharded(folder)
    index = folder / "model.safetensors.index.json"
    files = json.loads(index.read_text())["weight_map"]
    index.write_text(json.dumps({"weight_map": {**files, "last.bias": name}}))

    with pytest.raises(InputError, match="weight_map"):
        read(folder)


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    files = sharded(tmp_path)
    save_file(STATE, tmp_path / files["last.bias"])

    with pytest.raises(InputError, match=r"first\.weight"):
        read(tmp_path)


def test_a_run_folder_names_its_step_folders(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-20").mkdir()

    with pytest.raises(InputError, match="checkpoint-20"):
        read(tmp_path)


def test_a_quantised_folder_is_refused_by_its_method(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "model.safetensors")
    config = {"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}}
    (tmp_path / "config.json").write_text(json.dumps(config))

    with pytest.raises(UnsupportedError, match="bitsandbytes"):
        read(tmp_path)


def test_a_quantised_tensor_in_a_pickle_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"read below")

    with pytest.raises(UnsupportedError, match=r"last\.bias"):
        read_saved_state(
            tmp_path / "model.pt",
            read_pickle=lambda _: {**STATE, "last.bias": ForeignValue("tensor of qint8")},
        )


@pytest.mark.parametrize("name", ["model.gguf", "model.onnx", "absent.safetensors", "absent.pt"])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, name: str) -> None:
    if not name.startswith("absent"):
        (tmp_path / name).write_bytes(b"GGUF")

    with pytest.raises((InputError, UnsupportedError), match=name):
        read(tmp_path / name)


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}, {"state_dict": {"epoch": 3}}, "x"])
def test_a_pickle_without_a_state_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "model.pt")

    with pytest.raises(InputError, match="state dictionary"):
        read(tmp_path / "model.pt")


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")

    with pytest.raises(InputError, match=r"model\.safetensors"):
        read(tmp_path)
