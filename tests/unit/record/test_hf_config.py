"""What a configuration must say, and what is refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest

from auditor.errors import AuditorError, InputError, UnsupportedError
from auditor.record.hf_config import HfConfig, default_length, read_hf_config


def config(folder: Path, **fields: Any) -> HfConfig:
    plain = {"architectures": ["BertForSequenceClassification"], **fields}
    (folder / "config.json").write_text(json.dumps(plain))
    return read_hf_config(folder)


@pytest.mark.parametrize(
    ("architecture", "task"),
    [
        ("BertForSequenceClassification", "classification"),
        ("LlamaForCausalLM", "language"),
        ("GPT2LMHeadModel", "language"),
    ],
)
def test_the_task_is_that_of_the_architecture(tmp_path: Path, architecture: str, task: str) -> None:
    assert config(tmp_path, architectures=[architecture]).task == task


def test_classes_dtype_and_positions(tmp_path: Path) -> None:
    found = config(tmp_path, label2id={"bad": 0}, dtype="bfloat16", max_position_embeddings=77)

    assert (found.classes, found.dtype, default_length(found)) == ({"bad": 0}, "bfloat16", 77)
    assert default_length(config(tmp_path, max_position_embeddings=8192)) == 512
    assert default_length(config(tmp_path, n_positions=100)) == 100


@pytest.mark.parametrize(
    ("fields", "error", "text"),
    [
        ({"architectures": None}, UnsupportedError, "architectures"),
        ({"architectures": ["BertForMaskedLM"]}, UnsupportedError, "BertForMaskedLM"),
        ({"auto_map": {"AutoModel": "model.Own"}}, UnsupportedError, "never run"),
        ({"quantization_config": {"quant_method": "gptq"}}, UnsupportedError, "gptq"),
    ],
)
def test_what_cannot_be_treated_is_named(
    tmp_path: Path, fields: dict[str, Any], error: type[AuditorError], text: str
) -> None:
    with pytest.raises(error, match=text):
        config(tmp_path, **fields)


@pytest.mark.parametrize("content", [None, "[]", "{"])
def test_a_folder_without_a_configuration_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)

    with pytest.raises(InputError, match=r"config\.json"):
        read_hf_config(tmp_path)
