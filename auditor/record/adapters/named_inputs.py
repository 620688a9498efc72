"""Export modules whose forward takes tensors by name, as Hugging Face models do."""

from collections.abc import Callable, Sequence
from typing import Any, cast

from torch import Tensor, nn

from auditor.errors import UnsupportedError
from auditor.record.export import export_graph


def export_by_name(
    module: nn.Module, example_inputs: tuple[Tensor, ...], *, input_names: Sequence[str]
) -> bytes:
    """Return the graph of a module that is called as ``module(**inputs)``.

    What it returns may be a tensor, or a Hugging Face output that has logits. The module is
    exported with eager attention and without a cache of keys, and left as it was.

    Args:
        module: The module.
        example_inputs: One minibatch, each [B, ...].
        input_names: Names of arguments of its forward.

    Raises:
        UnsupportedError: If it has more inputs than are treated, or cannot be exported.
    """
    if not 1 <= len(input_names) <= len(_BY_COUNT):
        raise UnsupportedError(
            f"module {type(module).__name__}",
            expected=f"1 to {len(_BY_COUNT)} input columns",
            found=", ".join(input_names) or "none",
            remedy="Bind fewer columns with inputs={...}.",
        )
    own: Any = type(module)
    config: Any = getattr(module, "config", None)
    fixed = {"return_dict": True} if config is not None else {}
    if getattr(config, "use_cache", None) is not None:
        fixed["use_cache"] = False

    def call(model: nn.Module, *tensors: Tensor) -> Tensor:
        found = own.forward(model, **dict(zip(input_names, tensors, strict=True)), **fixed)
        return cast(Tensor, found if isinstance(found, Tensor) else found.logits)

    # What a library put in front of the model's own forward: mixed precision, fused losses.
    in_front = module.__dict__.pop("forward", None)
    attention = getattr(config, "_attn_implementation", None)
    try:
        if attention not in {None, "eager"}:
            cast(Any, module).set_attn_implementation("eager")
        # A subclass for as long as it takes: a wrapping module would prefix every name.
        module.__class__ = type(
            own.__name__, (own,), {"forward": _BY_COUNT[len(input_names)](call)}
        )
        return export_graph(module, example_inputs, input_names=input_names)
    finally:
        module.__class__ = own
        if in_front is not None:
            module.__dict__["forward"] = in_front
        if attention not in {None, "eager"}:
            cast(Any, module).set_attn_implementation(attention)


Call = Callable[..., Tensor]


def _of_one(call: Call) -> Call:
    def forward(self: nn.Module, first: Tensor) -> Tensor:
        return call(self, first)

    return forward


def _of_two(call: Call) -> Call:
    def forward(self: nn.Module, first: Tensor, second: Tensor) -> Tensor:
        return call(self, first, second)

    return forward


def _of_three(call: Call) -> Call:
    def forward(  # noqa: PLR0917 - as many as the graph has inputs
        self: nn.Module, first: Tensor, second: Tensor, third: Tensor
    ) -> Tensor:
        return call(self, first, second, third)

    return forward


# The exporter reads the signature: as many tensors by position as the graph has inputs.
_BY_COUNT = {1: _of_one, 2: _of_two, 3: _of_three}
