from collections.abc import Callable

import onnx
import pytest
import torch
from torch import Tensor, nn

from auditor.errors import InputError, UnsupportedError
from auditor.model.onnx_graph import check_graph
from auditor.model.onnx_model import OnnxModel
from auditor.record.export import export_graph
from tests.support.models import build_module, named_parameters, state_infos

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


class Layer(nn.Module):
    """A linear layer, and what a test does with its result and the first input."""

    def __init__(self, finish: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.linear, self.finish = nn.Linear(3, 3), finish

    def forward(self, x: Tensor) -> Tensor:
        return self.finish(self.linear(x), x)


class Product(nn.Module):
    """A function of two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x: Tensor, scale: Tensor) -> Tensor:
        return self.linear(x) * scale


ROWS = torch.randn(4, 3, generator=torch.Generator().manual_seed(2))
SIZES = {
    "a size as a number": (lambda y, _: y.reshape(4, 3), "batches of 4 only"),
    "a size as an integer": (lambda y, x: y + torch.ones(int(x.shape[0]), 1), "batches of 4 only"),
    "a loop": (lambda y, x: torch.stack([y[i] for i in range(len(x))]), "batches of 4 only"),
    "a branch": (lambda y, x: y if x.shape[0] > 3 else -y, "batches of 4 to any number"),
    "another branch": (lambda y, x: y if x.shape[0] < 9 else -y, "batches of 0 to 8"),
}


@pytest.mark.parametrize("case", SIZES)
def test_forward_that_depends_on_the_length_of_the_batch_is_refused(case: str) -> None:
    finish, found = SIZES[case]

    with pytest.raises(UnsupportedError, match=rf"{found}.*x\.shape\[0\] or -1 instead"):
        export_graph(Layer(finish), (ROWS,), input_names=["x"])


def test_one_tensor_for_two_inputs_is_two_inputs() -> None:
    module = Product()
    first, second = ROWS[:3], ROWS[1:]

    blob = export_graph(module, (ROWS, ROWS), input_names=["x", "scale"])

    plan = OnnxModel.load(blob, names=state_infos(module)).specialise(((3, 3),) * 2, mode="eval")
    found = plan(named_parameters(module), {}, first, second).values[0]
    torch.testing.assert_close(found, module(first, second).detach())


def test_input_that_the_forward_ignores_stays_an_input() -> None:
    class First(Product):
        def forward(self, x: Tensor, scale: Tensor) -> Tensor:
            return self.linear(x)

    graph = check_graph(export_graph(First(), (ROWS, ROWS), input_names=["x", "scale"]))

    assert [value.name for value in graph.inputs[:2]] == ["x", "scale"]


def test_parameter_that_the_forward_ignores_is_refused_with_what_to_do() -> None:
    module = Product()
    module.pooler = nn.Linear(3, 3)

    with pytest.raises(InputError, match=r"pooler\.weight.*remove it from the module"):
        export_graph(module, (ROWS, ROWS), input_names=["x", "scale"])

    module.pooler = None
    export_graph(module, (ROWS, ROWS), input_names=["x", "scale"])


@pytest.mark.parametrize(
    "inputs", [(), (ROWS, torch.tensor(2.0)), (ROWS, ROWS[:2])], ids=["none", "number", "other"]
)
def test_inputs_that_are_no_minibatch_are_refused(inputs: tuple[Tensor, ...]) -> None:
    with pytest.raises(InputError, match="first axis is the same minibatch"):
        export_graph(Product(), inputs, input_names=["x", "scale"])


@pytest.mark.parametrize("names", [["x"], ["x", "x"], ["x", "linear.weight"]])
def test_names_that_do_not_fit_the_inputs_are_refused(names: list[str]) -> None:
    with pytest.raises(InputError, match="2 different names, none of them a parameter's"):
        export_graph(Product(), (ROWS, ROWS), input_names=names)


def test_reason_of_the_exporter_is_told_in_one_line() -> None:
    with pytest.raises(UnsupportedError) as caught:
        export_graph(Product(), (ROWS,), input_names=["x"])

    assert "TypeError: missing a required argument: 'scale'" in str(caught.value)
    assert "\x1b" not in str(caught.value)
