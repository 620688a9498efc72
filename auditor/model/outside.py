"""Ask about torch transforms or step out of them; the only place that touches torch's internals."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import TransformType
from torch._functorch.pyfunctorch import (
    retrieve_all_functorch_interpreters,
    temporarily_clear_interpreter_stack,
)
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from typing_extensions import override

from auditor.errors import DomainError

below_autograd = torch._C._AutoDispatchBelowAutograd
"""A context in which no operation is recorded, nor asks whether it should be.

Cheaper per operation than ``torch.no_grad``, which for small models is a tenth of a step; unlike
``torch.inference_mode`` its tensors are ordinary ones that can be differentiated later.
"""


@contextlib.contextmanager
def indices_are_data() -> Iterator[None]:
    """Run the body; an index outside a table of the model (a token beyond the vocabulary) is ours.

    Raises:
        DomainError: If a table has no such row. Checked by torch on the CPU; a device may abort.
    """
    try:
        yield
    except IndexError as error:
        raise DomainError(
            "forward pass",
            expected="indices within the tables of the model",
            found=str(error),
            remedy="Check the columns that feed the graph's integer inputs.",
        ) from error


@contextlib.contextmanager
def outside_transforms() -> Iterator[None]:
    """Run the body as if no ``vmap``, ``grad``, ``jvp`` or trace were going on, without autograd.

    Constants that are made inside a transform belong to it: kept for later, they would be dead
    wrappers. A plan is specialised at its first call, which usually is inside a transform.
    """
    with _disable_current_modes(), temporarily_clear_interpreter_stack(), torch.no_grad():
        yield


def inside_vmap() -> bool:
    """Return whether a ``vmap`` is going on, at any depth of transforms."""
    return any(i.key() == TransformType.Vmap for i in retrieve_all_functorch_interpreters())


def operations_of(
    function: Callable[..., list[Tensor]], arguments: Sequence[Tensor]
) -> GraphModule:
    """Return the operations of a function as a graph, found without computing anything.

    Nothing of the size of a tensor is allocated: tracing a step needs no more memory than the step.
    Tensors that the function has by itself, a graph's constants, are taken as they are.
    """
    trace = make_fx(function, tracing_mode="fake", _allow_non_fake_inputs=True)
    module: GraphModule = trace(*arguments)
    return module


class LargestValue(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's hook
    """Notes the largest tensor that any operation inside gives, also one that is let go at once.

    On the meta device this bounds what a computation will ask for, before it asks.

    Attributes:
        bytes: Of the largest tensor so far.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0

    @override
    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run the operation."""
        results = func(*args, **(kwargs or {}))
        for result in results if isinstance(results, (tuple, list)) else (results,):
            if isinstance(result, Tensor):
                self.bytes = max(self.bytes, result.nbytes)
        return results
