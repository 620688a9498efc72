"""The map between a graph and the state of a stage log, and plans by shape."""

import pytest
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

from auditor.errors import InputError, ShapeError, UnsupportedError
from auditor.model.layout import ParameterLayout
from auditor.model.limits import ImportLimits
from auditor.model.objective import GraphObjective, Minibatch, forward_mode
from auditor.model.onnx_model import OnnxModel
from auditor.record.export import export_graph
from auditor.stagelog.log import Bindings, Graph, Loss, ParameterInfo
from tests.support.models import named_parameters, state_infos

MODULE = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
INPUTS = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
NAMES = state_infos(MODULE)
BINDINGS = Bindings(inputs={"x": "image"}, target="label")


@pytest.fixture(scope="module")
def blob() -> bytes:
    return export_graph(MODULE, (INPUTS,), input_names=["x"])


@pytest.fixture(scope="module")
def model(blob: bytes) -> OnnxModel:
    return OnnxModel.load(blob, names=NAMES)


def layout_of(model: OnnxModel) -> ParameterLayout:
    return ParameterLayout(tuple(model.params), tuple(info.shape for info in model.params.values()))


def test_parameters_are_those_of_the_state(model: OnnxModel) -> None:
    assert model.params == NAMES
    assert [value.name for value in model.inputs] == ["x"]


def test_missing_parameter_is_named(blob: bytes) -> None:
    names = NAMES | {"extra.weight": ParameterInfo(shape=(1,), dtype="float32")}

    with pytest.raises(InputError, match=r"parameters\[extra.weight\].*no input of this name"):
        OnnxModel.load(blob, names=names)


def test_parameter_that_the_state_lacks_is_a_data_input(blob: bytes) -> None:
    names = {name: info for name, info in NAMES.items() if name != "2.bias"}

    model = OnnxModel.load(blob, names=names)

    with pytest.raises(InputError, match=r"a column for each of x, 2\.bias"):
        GraphObjective(
            model,
            bindings=BINDINGS,
            loss=Loss(kind="mse"),
            layout=layout_of(model),
            mode="eval",
        )


@pytest.mark.parametrize(
    "info",
    [
        ParameterInfo(shape=(3, 4), dtype="float32"),
        ParameterInfo(shape=(4, 3), dtype="float64"),
    ],
    ids=["shape", "dtype"],
)
def test_first_parameter_that_differs_is_named(blob: bytes, info: ParameterInfo) -> None:
    with pytest.raises(ShapeError, match=r"parameters\[0.weight\].*in the graph"):
        OnnxModel.load(blob, names=NAMES | {"0.weight": info})


def test_parameter_without_effect_is_named() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used = nn.Linear(3, 2)
            self.idle = nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x)

    module = Idle()

    with pytest.raises(InputError, match=r"parameters\[idle.weight\]"):
        OnnxModel.load(
            export_graph(module, (INPUTS,), input_names=["x"]), names=state_infos(module)
        )


def test_plans_are_kept_by_shape(blob: bytes) -> None:
    model = OnnxModel.load(blob, names=NAMES, limits=ImportLimits(plans=2))

    first = model.specialise(((5, 3),), mode="eval")
    assert model.specialise(((5, 3),), mode="eval") is first
    model.specialise(((6, 3),), mode="eval")
    model.specialise(((7, 3),), mode="eval")
    assert model.specialise(((5, 3),), mode="eval") is not first


@pytest.mark.parametrize("shapes", [((5, 4),), ((5,),)])
def test_shape_that_does_not_fit_is_refused(
    model: OnnxModel, shapes: tuple[tuple[int, ...], ...]
) -> None:
    with pytest.raises(ShapeError, match="graph input 'x'"):
        model.specialise(shapes, mode="eval")


def test_number_of_inputs_is_checked(model: OnnxModel) -> None:
    with pytest.raises(InputError, match="1 of them: x"):
        model.specialise((), mode="eval")


def test_plan_refuses_another_shape_and_missing_parameters(model: OnnxModel) -> None:
    plan = model.specialise(((5, 3),), mode="eval")
    params = named_parameters(MODULE)

    with pytest.raises(ShapeError, match="input 'x'"):
        plan(params, {}, INPUTS[:2])
    with pytest.raises(InputError, match=r"parameters\[0.bias\]"):
        plan({"0.weight": params["0.weight"]}, {}, INPUTS)


def test_plan_that_was_made_inside_a_trace_works_outside(blob: bytes) -> None:
    model = OnnxModel.load(blob, names=NAMES)
    params = named_parameters(MODULE)

    def outputs(named: dict[str, torch.Tensor]) -> torch.Tensor:
        return model.specialise(((5, 3),), mode="eval")(named, {}, INPUTS).values[0]

    lanes = {name: tensor.expand(2, *tensor.shape) for name, tensor in params.items()}
    inside = make_fx(torch.func.vmap(torch.func.grad(lambda p: outputs(p).sum())))(lanes)(lanes)

    torch.testing.assert_close(outputs(params), MODULE(INPUTS).detach())
    assert inside["0.bias"].shape == (2, 4)


def make_batch(weights: list[float], denominator: float) -> Minibatch:
    return Minibatch(
        inputs=(INPUTS,),
        target=torch.tensor([0, 1, 1, 0, 1]),
        weights=torch.tensor(weights),
        denominator=torch.tensor(denominator),
    )


def test_objective_is_the_weighted_mean(model: OnnxModel) -> None:
    layout = layout_of(model)
    objective = GraphObjective(
        model,
        bindings=BINDINGS,
        loss=Loss(kind="cross_entropy"),
        layout=layout,
        mode="eval",
    )
    batch = make_batch([1.0, 0.0, 2.0, 1.0, 0.5], 5.0)

    value, buffers = objective.loss(layout.flatten(named_parameters(MODULE)), {}, batch)

    losses = nn.functional.cross_entropy(MODULE(INPUTS), batch.target, reduction="none")
    torch.testing.assert_close(value, (batch.weights * losses).sum().detach() / 5)
    assert buffers == {}


@pytest.mark.parametrize(
    ("bindings", "where"),
    [
        (Bindings(inputs={"y": "image"}, target="label"), r"bindings\.inputs"),
        (Bindings(inputs={"x": "image"}, target="label", output=1), r"bindings\.output"),
    ],
)
def test_binding_that_does_not_fit_the_graph_is_refused(
    model: OnnxModel, bindings: Bindings, where: str
) -> None:
    with pytest.raises(InputError, match=where):
        GraphObjective(
            model,
            bindings=bindings,
            loss=Loss(kind="mse"),
            layout=layout_of(model),
            mode="eval",
        )


def test_layout_of_another_stage_is_refused(model: OnnxModel) -> None:
    with pytest.raises(InputError, match=r"parameters\[2.weight\]"):
        GraphObjective(
            model,
            bindings=BINDINGS,
            loss=Loss(kind="mse"),
            layout=ParameterLayout(("0.weight", "0.bias"), ((4, 3), (4,))),
            mode="eval",
        )


def test_loss_that_is_not_treated_is_refused_early(model: OnnxModel) -> None:
    with pytest.raises(UnsupportedError, match="hinge"):
        GraphObjective(
            model,
            bindings=BINDINGS,
            loss=Loss(kind="hinge"),
            layout=layout_of(model),
            mode="eval",
        )


@pytest.mark.parametrize(
    ("fact", "mode"), [("none", "eval"), ("running", "eval"), ("batch", "train")]
)
def test_mode_follows_the_log(fact: str, mode: str) -> None:
    graph = Graph(onnx="0" * 64, inputs=(), outputs=(), batch_norm=fact)

    assert forward_mode(graph) == mode
