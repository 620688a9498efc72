"""Graphs of operator sets 16 to 23 against the torch modules they were exported from.

Sets 16 and 17 are written by torch's TorchScript exporter, 18 by the one that ``export_graph``
uses, later ones by ONNX's own converter; and 23 by the exporter where it then uses other operators.
"""

import functools
import io
from collections.abc import Callable

import onnx
import pytest
import torch
from onnx import ModelProto, helper, version_converter
from torch import Tensor, nn
from torch.func import grad, jvp

from auditor.model.onnx_graph import check_graph
from auditor.model.onnx_model import OnnxModel
from auditor.model.onnx_ops.versions import VERSIONS
from tests.support.family_models import gpt2, llama
from tests.support.models import (
    LENGTH,
    VOCABULARY,
    build_module,
    named_buffers,
    named_parameters,
    state_infos,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:torch.onnx"),
    pytest.mark.filterwarnings("ignore:.*legacy TorchScript:UserWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]
OPSETS = range(16, 24)
EXAMPLES = 4
DEPRECATED = {("GroupNormalization", 18)}
"""Meanings of operators that ONNX withdrew: its checker refuses them."""


class Rotary(nn.Module):
    """A block of a Llama: RMS norms, rotary positions, grouped attention, gated units."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.head = nn.Embedding(VOCABULARY, 16), nn.Linear(16, 3, bias=False)
        self.first, self.second = nn.RMSNorm(16), nn.RMSNorm(16)
        self.q, self.kv = nn.Linear(16, 16, bias=False), nn.Linear(16, 16, bias=False)
        self.out, self.down = nn.Linear(16, 16, bias=False), nn.Linear(24, 16, bias=False)
        self.gate, self.up = nn.Linear(16, 24, bias=False), nn.Linear(16, 24, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        places = torch.arange(LENGTH)[:, None] * torch.tensor([1.0, 0.1])  # [L, 2]
        angles = places.expand(tokens.shape[0], LENGTH, 2)
        x = self.tokens(tokens)
        states = self.first(x)
        q, k, v = (
            part.unflatten(-1, (-1, 4)).transpose(1, 2)
            for part in (self.q(states), *self.kv(states).chunk(2, dim=-1))
        )
        # The operator that the exporter knows has no derivative in torch.
        turn = torch.onnx.ops.rotary_embedding if torch.onnx.is_in_onnx_export() else turned
        q, k = (turn(t, angles.cos(), angles.sin()) for t in (q, k))
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        states = self.second(x)
        x = x + self.down(nn.functional.silu(self.gate(states)) * self.up(states))
        return self.head(x[:, -1])


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return x [B, H, L, D] with its halves turned by angles [B, L, D / 2]."""
    a, b = x.chunk(2, dim=-1)
    cos, sin = cos[:, None], sin[:, None]
    return torch.cat((cos * a - sin * b, sin * a + cos * b), dim=-1)


MODULES: dict[str, Callable[[], nn.Module]] = {
    **{n: functools.partial(build_module, n, dtype=torch.float32)
       for n in ("mlp", "cnn", "transformer", "attention")},
    "rotary": Rotary, "gpt2": gpt2, "llama": llama,
}  # fmt: skip
INPUTS = {"mlp": (EXAMPLES, 5), "cnn": (EXAMPLES, 1, 8, 8)}
FAMILIES = ("mlp", "cnn", "transformer", "attention")
OWN_OPERATORS = {
    "rotary": {"Attention", "RMSNormalization", "RotaryEmbedding"},
    "gpt2": {"Attention", "LayerNormalization"},
    "llama": {"Attention"},
}
"""Operators of set 23 that the exporter then uses for a model."""


@functools.cache
def module_of(name: str) -> tuple[nn.Module, Tensor]:
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = MODULES[name]().eval()
    if name in INPUTS:
        return module, torch.randn(INPUTS[name], generator=generator)
    return module, torch.randint(1, VOCABULARY, (EXAMPLES, LENGTH), generator=generator)


@functools.cache
def exported(name: str, opset: int) -> ModelProto:
    """Return the graph that torch's exporter writes, without weights."""
    module, inputs = module_of(name)
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.onnx.export(
        module, (inputs,), dynamo=True, optimize=False, opset_version=opset,
        input_names=["input"], dynamic_shapes=shapes, verbose=False,
    )  # fmt: skip
    assert program is not None
    return without_weights(program.model_proto, module)


def scripted(name: str, opset: int) -> ModelProto:
    """Return the graph that torch's older exporter writes, without weights."""
    module, inputs = module_of(name)
    file = io.BytesIO()
    torch.onnx.export(
        module, (inputs,), file, dynamo=False, opset_version=opset, input_names=["input"],
        dynamic_axes={"input": {0: "batch"}}, keep_initializers_as_inputs=True,
        do_constant_folding=False, training=torch.onnx.TrainingMode.PRESERVE,
    )  # fmt: skip
    return without_weights(onnx.load_from_string(file.getvalue()), module)


def without_weights(model: ModelProto, module: nn.Module) -> ModelProto:
    graph, state = model.graph, set(module.state_dict())
    given = {value.name for value in graph.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name in state]:
        graph.initializer.remove(tensor)
        if tensor.name not in given:
            graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    return model


def graph_of(name: str, opset: int) -> bytes:
    if opset < 18:
        model = scripted(name, opset)
    else:
        model = version_converter.convert_version(exported(name, 18), opset)
    return model.SerializeToString()


def require_equal(name: str, blob: bytes) -> None:
    """Compare outputs, gradients, and derivatives along a direction."""
    module, inputs = module_of(name)
    params, buffers = named_parameters(module), named_buffers(module)
    model = OnnxModel.load(blob, names=state_infos(module))
    plan = model.specialise((tuple(inputs.shape),), mode="eval")

    def ours(params: dict[str, Tensor]) -> Tensor:
        return plan(params, buffers, inputs).values[0]

    def loss(params: dict[str, Tensor]) -> Tensor:
        return ours(params).square().sum()

    gradient = grad(loss)(params)
    _, slope = jvp(loss, (params,), (gradient,))

    module.zero_grad()
    output = module(inputs)
    output.square().sum().backward()
    theirs = {n: p.grad for n, p in module.named_parameters()}
    close = functools.partial(torch.testing.assert_close, rtol=1e-5)
    close(ours(params), output.detach(), atol=1e-5 * float(output.detach().abs().max()))
    norm = float(flat(theirs).norm())
    assert (flat(gradient) - flat(theirs)).norm() <= 1e-5 * norm
    assert float(slope) == pytest.approx(norm**2, rel=1e-5)


def flat(named: dict[str, Tensor]) -> Tensor:
    return torch.cat([named[name].flatten() for name in sorted(named)])


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("name", FAMILIES)
def test_families_agree_in_every_operator_set(name: str, opset: int) -> None:
    blob = graph_of(name, opset)

    assert check_graph(blob).opset == opset
    require_equal(name, blob)


@pytest.mark.parametrize("name", OWN_OPERATORS)
def test_operators_of_set_23_agree(name: str) -> None:
    blob = exported(name, 23).SerializeToString()

    used = {node.operator for node in check_graph(blob).nodes}
    assert used >= OWN_OPERATORS[name]
    require_equal(name, blob)


def test_every_meaning_of_an_operator_in_these_sets_is_treated() -> None:
    missing = {
        (operator, schema.since_version)
        for operator, treated in VERSIONS.items()
        for opset in OPSETS
        if (schema := schema_of(operator, opset)) and schema.since_version not in treated
    }

    assert missing == DEPRECATED


def schema_of(operator: str, opset: int) -> onnx.defs.OpSchema | None:
    try:
        return onnx.defs.get_schema(operator, opset, "")
    except onnx.defs.SchemaError:
        return None
