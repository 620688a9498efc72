"""A merged adapter is what peft itself merges."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from auditor.errors import InputError, ShapeError, UnsupportedError
from auditor.record.peft_adapter import merged_weights
from auditor.record.saved_state import SavedState, read_saved_state

if TYPE_CHECKING:
    from peft import PeftModel


class Net(nn.Module):
    """An embedding, a linear layer, a transposed one and a head."""

    def __init__(self) -> None:
        from transformers.pytorch_utils import Conv1D

        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.first = nn.Linear(4, 6)
        self.turned = Conv1D(5, 6)
        self.head = nn.Linear(5, 2)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.turned(self.first(self.embed(ids))))


def net() -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net()


def adapted(**options: Any) -> "PeftModel":
    """Return a model with an adapter whose matrices are not zero."""
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(net(), LoraConfig(r=2, lora_alpha=6, **options))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model


def saved(model: "PeftModel", folder: Path) -> SavedState:
    model.save_pretrained(folder)
    return read_saved_state(folder, read_pickle=lambda path: pytest.fail(f"opened {path}"))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": ["first"]},
        {"target_modules": ["first", "head"], "use_rslora": True},
        {"target_modules": ["turned"], "fan_in_fan_out": True},
        {"target_modules": ["embed"]},
        {"target_modules": ["first"], "modules_to_save": ["head"]},
    ],
    ids=["linear", "rslora", "transposed", "embedding", "head saved whole"],
)
def test_merging_is_what_peft_does(tmp_path: Path, options: dict[str, Any]) -> None:
    model = adapted(**options)
    adapter = saved(model, tmp_path)

    found = merged_weights(net().state_dict(), adapter)

    expected = model.merge_and_unload().state_dict()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-6)
    assert any(not found[name].equal(value) for name, value in net().state_dict().items())


def test_another_kind_of_adapter_is_refused_by_name(tmp_path: Path) -> None:
    adapter = saved(adapted(target_modules=["first"], use_dora=True), tmp_path)

    with pytest.raises(UnsupportedError, match=r"use_dora.*merge_and_unload"):
        merged_weights(net().state_dict(), adapter)


def test_a_prompt_adapter_is_refused_by_name() -> None:
    adapter = SavedState(
        path=Path("soft"), form="adapter", tensors={}, adapter={"peft_type": "PROMPT_TUNING"}
    )

    with pytest.raises(UnsupportedError, match="PROMPT_TUNING"):
        merged_weights(net().state_dict(), adapter)


def test_an_adapter_of_another_model_is_refused(tmp_path: Path) -> None:
    adapter = saved(adapted(target_modules=["first"]), tmp_path)
    base = net().state_dict()

    with pytest.raises(InputError, match=r"first\.weight"):
        merged_weights(
            {name: value for name, value in base.items() if "first" not in name}, adapter
        )
    with pytest.raises(ShapeError, match=r"first\.weight"):
        merged_weights({**base, "first.weight": torch.ones(3, 4)}, adapter)
