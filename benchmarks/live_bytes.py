"""Bytes of tensors that are alive, counted operation by operation."""

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from typing_extensions import override


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's hook
    """Counts the bytes of all tensors that are held, and the most there have been at once.

    A memory is counted once however many views it has, from the operation that makes it until the
    last of them is gone. Workspaces inside one operation are not seen. Depends on shapes only, not
    on the machine or its allocator. Tensors without data, as tracing makes them, count nothing.

    Args:
        held: Tensors that exist already.

    Attributes:
        now: Bytes alive.
        peak: The most bytes alive at the end of any operation since :meth:`reset`.
    """

    def __init__(self, held: Iterable[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.peak = 0
        self._seen: dict[int, weakref.ref[torch.UntypedStorage]] = {}
        for tensor in held:
            self._add(tensor)
        self.reset()

    def reset(self) -> None:
        """Forget what there was at once before."""
        self.peak = self.now

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if id(storage) in self._seen or storage.device.type == "meta":
            return
        gone = partial(self._gone, id(storage), storage.nbytes())
        self._seen[id(storage)] = weakref.ref(storage, gone)
        self.now += storage.nbytes()

    def _gone(self, key: int, size: int, _reference: object) -> None:
        del self._seen[key]
        self.now -= size

    @override
    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run the operation and count what it made."""
        result = func(*args, **(kwargs or {}))
        for value in pytree.tree_leaves(result):
            if isinstance(value, Tensor):
                self._add(value)
        self.peak = max(self.peak, self.now)
        return result
