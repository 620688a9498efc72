"""Hugging Face folders are exported by the class that their configuration names, or refused."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from auditor.errors import AuditorError, InputError, ShapeError, UnsupportedError
from auditor.model.tensors import read_tensors
from auditor.record.hf_model import export_hf_model
from tests.support import hf_folders

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    hf_folders.bert().save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


def test_half_precision_is_exported_in_float32_with_the_same_values(tmp_path: Path) -> None:
    model = hf_folders.gpt2().to(torch.bfloat16)
    model.save_pretrained(tmp_path / "half")

    found = export_hf_model(tmp_path / "half", tmp_path / "out", length=6)

    weights = read_tensors((tmp_path / "out" / "model.safetensors").read_bytes(), where="weights")
    assert {info.dtype for info in found.parameters.values()} == {"float32"}
    assert found.parameters["lm_head.weight"].tied_to == "transformer.wte.weight"
    assert found.order == tuple(name for name, _ in model.named_parameters())
    assert (found.task, found.prefix) == ("language", "transformer.")
    assert found.inputs == ("input_ids", "attention_mask")
    for name, value in model.named_parameters():
        assert weights[name].equal(value.float())
    assert found.deviation <= 1e-5


def without_classifier(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in state.items() if not name.startswith("classifier")}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def renamed(folder: Path) -> None:
    plain = json.loads((folder / "config.json").read_text())
    plain["architectures"] = ["UnheardOfForCausalLM"]
    (folder / "config.json").write_text(json.dumps(plain))


class Malicious:
    """Makes a folder when it is unpickled by whoever runs what a pickle says."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self._target),)


def test_a_malicious_pickle_is_refused_and_not_run(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"classifier.bias": Malicious(tmp_path / "made")}, folder / "pytorch_model.bin")

    with pytest.raises(InputError, match="bert"):
        export_hf_model(folder, tmp_path / "out", length=8)

    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("change", "length", "error", "text"),
    [
        (without_classifier, 8, InputError, "fill at random"),
        (renamed, 8, UnsupportedError, "UnheardOfForCausalLM"),
        (lambda folder: (folder / "model.safetensors").unlink(), 8, InputError, "save_pretrained"),
        (lambda f: (f / "adapter_config.json").touch(), 8, UnsupportedError, "an adapter"),
        (lambda _: None, hf_folders.POSITIONS + 1, ShapeError, "--length 16"),
    ],
    ids=["missing parameter", "unknown class", "no weights", "adapter", "too long"],
)
def test_what_cannot_be_exported_is_refused_by_name(
    folder: Path, tmp_path: Path, change: Any, length: int, error: type[AuditorError], text: str
) -> None:
    change(folder)

    with pytest.raises(error, match=text):
        export_hf_model(folder, tmp_path / "out", length=length)

    assert not (tmp_path / "out").exists()
