"""Pooling over windows and over all spatial axes."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from auditor.model.onnx_ops.call import Call, Kernel
from auditor.model.onnx_ops.windows import explicit_pads, split_pads

_MAX: dict[int, Callable[..., Tensor]] = {
    1: functional.max_pool1d,
    2: functional.max_pool2d,
    3: functional.max_pool3d,
}
_AVERAGE: dict[int, Callable[..., Tensor]] = {
    1: functional.avg_pool1d,
    2: functional.avg_pool2d,
    3: functional.avg_pool3d,
}


def max_pool(call: Call) -> Kernel:
    """Build MaxPool without indices."""
    kernel, strides, dilations, pads, ceil = _windows(call)
    if sum(name != "" for name in call.node.outputs) > 1:
        raise call.unsupported("MaxPool without indices", "indices")
    padding, extra = split_pads(pads, windows=kernel)
    lowest = _lowest(call.tensor(0))
    pool = _MAX[len(kernel)]

    def run(x: Tensor) -> Tensor:
        if extra is not None:
            x = functional.pad(x, extra, value=lowest)
        return pool(x, kernel, strides, padding, dilations, ceil_mode=ceil)

    return Kernel(run, (0,))


def average_pool(call: Call) -> Kernel:
    """Build AveragePool; padding counts or not as the node says."""
    kernel, strides, dilations, pads, ceil = _windows(call)
    if any(step != 1 for step in dilations):
        raise call.unsupported("AveragePool without dilation", dilations)
    counted = bool(call.integer("count_include_pad", 0))
    padding, extra = split_pads(pads, windows=kernel)
    pool = _AVERAGE[len(kernel)]
    if extra is None:
        return Kernel(lambda x: pool(x, kernel, strides, padding, ceil, counted), (0,))
    if ceil:
        raise call.unsupported("no ceil_mode with pads on one side or over half a window", pads)

    def run(x: Tensor) -> Tensor:
        sums = pool(functional.pad(x, extra), kernel, strides)
        if counted:
            return sums
        # The share of each window that is no padding.
        return sums / pool(functional.pad(torch.ones_like(x), extra), kernel, strides)

    return Kernel(run, (0,))


def global_average_pool(call: Call) -> Kernel:
    """Build GlobalAveragePool: mean over all spatial axes."""
    axes = list(range(2, call.rank()))
    return Kernel(lambda x: x.mean(dim=axes, keepdim=True), (0,))


def global_max_pool(call: Call) -> Kernel:
    """Build GlobalMaxPool: largest over all spatial axes."""
    axes = list(range(2, call.rank()))
    return Kernel(lambda x: torch.amax(x, dim=axes, keepdim=True), (0,))


def _windows(
    call: Call,
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[tuple[int, int], ...], bool]:
    kernel = call.integers("kernel_shape") or ()
    strides = call.integers("strides") or (1,) * len(kernel)
    dilations = call.integers("dilations") or (1,) * len(kernel)
    if len(kernel) not in _MAX:
        raise call.unsupported("one to three spatial axes", len(kernel))
    pads = explicit_pads(call, kernel=kernel, strides=strides, dilations=dilations)
    return kernel, strides, dilations, pads, bool(call.integer("ceil_mode", 0))


def _lowest(tensor: Tensor) -> float:
    if tensor.is_floating_point():
        return float("-inf")
    return float(torch.iinfo(tensor.dtype).min)
