"""Step out of every torch transform for a moment; the only place that touches their internals."""

import contextlib
from collections.abc import Iterator

import torch
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch.utils._python_dispatch import _disable_current_modes


@contextlib.contextmanager
def outside_transforms() -> Iterator[None]:
    """Run the body as if no ``vmap``, ``grad``, ``jvp`` or trace were going on, without autograd.

    Constants that are made inside a transform belong to it: kept for later, they would be dead
    wrappers. A plan is specialised at its first call, which usually is inside a transform.
    """
    with _disable_current_modes(), temporarily_clear_interpreter_stack(), torch.no_grad():
        yield
