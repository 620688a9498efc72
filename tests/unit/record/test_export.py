import onnx
import pytest
import torch
from torch import Tensor, nn

from auditor.errors import UnsupportedError
from auditor.model.onnx_graph import check_graph
from auditor.record.export import export_graph
from tests.support.models import build_module

IMAGES = torch.randn(2, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
TOKENS = torch.tensor([[1, 2, 3, 4, 0, 0], [5, 6, 7, 8, 9, 1]])


@pytest.fixture(scope="module")
def cnn() -> nn.Module:
    return build_module("cnn")


@pytest.fixture(scope="module")
def blob(cnn: nn.Module) -> bytes:
    cnn.train()
    cnn[1].eval()  # a frozen normalisation inside a model in training
    return export_graph(cnn, (IMAGES,), input_names=["image"])


def test_graph_has_no_weights_but_their_names(cnn: nn.Module, blob: bytes) -> None:
    graph = onnx.load_from_string(blob).graph

    state = set(cnn.state_dict()) - {"1.num_batches_tracked", "5.num_batches_tracked"}
    assert graph.input[0].name == "image"
    assert {value.name for value in graph.input} == {"image"} | state
    assert not state & {tensor.name for tensor in graph.initializer}


def test_graph_does_not_depend_on_values(cnn: nn.Module, blob: bytes) -> None:
    other = build_module("cnn", seed=1).train()

    assert export_graph(other, (IMAGES,), input_names=["image"]) == blob


def test_modes_of_all_parts_are_as_before(cnn: nn.Module, blob: bytes) -> None:
    assert cnn.training
    assert cnn[4].training
    assert not cnn[1].training
    assert len(blob) > 0


def test_graph_tells_nothing_about_the_machine(blob: bytes) -> None:
    model = onnx.load_from_string(blob)

    assert b"stack_trace" not in blob
    assert b".py" not in blob
    assert not any(node.metadata_props for node in model.graph.node)


def test_batch_axis_is_free_also_with_an_example_of_one(cnn: nn.Module) -> None:
    graph = check_graph(export_graph(cnn, (IMAGES[:1],), input_names=["image"]))

    assert graph.inputs[0].shape == ("batch", 1, 8, 8)
    assert graph.outputs[0].shape[0] == "batch"


def test_one_of_tied_names_is_kept() -> None:
    module = build_module("attention")

    names = [value.name for value in check_graph(
        export_graph(module, (TOKENS,), input_names=["tokens"])
    ).inputs]  # fmt: skip

    assert len({"head.weight", "tokens.weight"}.intersection(names)) == 1


def test_module_that_depends_on_data_is_refused() -> None:
    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(UnsupportedError, match="module Branching"):
        export_graph(Branching(), (IMAGES,), input_names=["x"])


def test_operator_that_an_audit_does_not_treat_is_refused_when_recording() -> None:
    class Sorting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.nonzero(x > 0)

    with pytest.raises(UnsupportedError, match="NonZero"):
        export_graph(Sorting(), (IMAGES,), input_names=["x"])
