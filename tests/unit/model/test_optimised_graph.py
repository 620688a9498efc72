"""Graphs that went through the exporter's own optimiser, as a user's first try does."""

import warnings

import onnx
import pytest
import torch
from torch import Tensor, nn

from auditor.errors import InputError
from auditor.model.onnx_model import OnnxModel
from auditor.record.export import export_graph
from tests.support.models import state_infos

TOKENS = torch.zeros(3, 5, dtype=torch.int64)
STATES = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(0))
IMAGES = torch.randn(3, 1, 6, 6, generator=torch.Generator().manual_seed(0))


class Tied(nn.Module):
    """An embedding and a head of the same matrix; nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(20, 8)
        self.head = nn.Linear(8, 20, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(torch.tanh(self.tokens(tokens)))


class Fixed(nn.Module):
    """A weight, and a matrix of its shape that is no part of the state."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)
        self.register_buffer("table", torch.randn(8, 8), persistent=False)

    def forward(self, states: Tensor) -> Tensor:
        return self.layer(states) + self.table[:5]


def folded() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(32, 3))


def merged() -> nn.Module:
    return nn.Sequential(nn.LayerNorm(8), nn.Tanh(), nn.LayerNorm(8))


def transposed() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 4), nn.Tanh())


def optimised(module: nn.Module, inputs: Tensor, *, stripped: bool = True) -> bytes:
    """Return the default export; parameters that kept their names become inputs without data."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module, (inputs,), dynamo=True, input_names=["x"], verbose=False
        )
    assert program is not None
    model = program.model_proto
    state = module.state_dict()
    for tensor in list(model.graph.initializer):
        if stripped and tensor.name in state:
            model.graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
            model.graph.initializer.remove(tensor)
    return model.SerializeToString()


CASES = {
    "folded": (folded, IMAGES, r"\[1\.weight\].*batch normalisation folded into the layer before"),
    "merged": (merged, STATES, r"found no input of this name, but '.*' in its place, merged"),
    "transposed": (transposed, STATES, r"\[0\.weight\].*'val_\w+' in its place, transposed"),
    "untied": (Tied, TOKENS, r"\[(tokens|head)\.weight\].*no constant that data are multiplied by"),
}


@pytest.mark.parametrize("case", CASES)
def test_default_export_is_refused_with_the_call_to_use(case: str) -> None:
    build, inputs, message = CASES[case]
    module = build().eval()
    blob = optimised(module, inputs)

    with pytest.raises(InputError, match=message) as caught:
        OnnxModel.load(blob, names=state_infos(module))

    assert "torch.onnx.export(module, inputs, dynamo=True, optimize=False)" in str(caught.value)


@pytest.mark.parametrize("case", CASES)
def test_the_same_module_without_the_optimiser_is_taken(case: str) -> None:
    build, inputs, _ = CASES[case]
    module = build().eval()

    model = OnnxModel.load(
        export_graph(module, (inputs,), input_names=["x"]), names=state_infos(module)
    )

    assert set(model.params) == {name for name, _ in module.named_parameters()}


def test_table_that_is_added_is_no_copy_of_a_weight() -> None:
    module = Fixed().eval()

    blob = export_graph(module, (STATES,), input_names=["x"])

    assert OnnxModel.load(blob, names=state_infos(module)).params


def test_weights_inside_the_graph_are_refused_with_the_call_to_use() -> None:
    module = transposed().eval()
    blob = optimised(module, STATES, stripped=False)

    with pytest.raises(InputError, match=r"an initialiser with data.*optimize=False"):
        OnnxModel.load(blob, names=state_infos(module))
