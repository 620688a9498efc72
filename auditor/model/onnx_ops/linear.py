"""Matrix products and convolutions."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from auditor.model.onnx_ops.call import Call, Kernel
from auditor.model.onnx_ops.windows import explicit_pads, split_pads

_CONVOLUTIONS: Mapping[int, Callable[..., Tensor]] = {
    1: functional.conv1d,
    2: functional.conv2d,
    3: functional.conv3d,
}
_TRANSPOSED: Mapping[int, Callable[..., Tensor]] = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


def gemm(call: Call) -> Kernel:
    """Build Gemm: alpha A' B' + beta C."""
    alpha, beta = call.number("alpha", 1.0), call.number("beta", 1.0)
    left, right = call.integer("transA", 0), call.integer("transB", 0)

    def product(a: Tensor, b: Tensor) -> Tensor:
        result = (a.t() if left else a) @ (b.t() if right else b)
        return result if alpha == 1 else alpha * result

    if not call.has(2):
        return Kernel(product, (0, 1))
    if alpha == 1 and beta == 1 and not left and call.rank(2) == 1:
        if right:
            return Kernel(functional.linear, (0, 1, 2))
        return Kernel(lambda a, b, c: functional.linear(a, b.t(), c), (0, 1, 2))
    if beta == 1:
        return Kernel(lambda a, b, c: product(a, b) + c, (0, 1, 2))
    return Kernel(lambda a, b, c: product(a, b) + beta * c, (0, 1, 2))


def einsum(call: Call) -> Kernel:
    """Build Einsum."""
    equation = call.text("equation", "")
    return Kernel(lambda *tensors: torch.einsum(equation, *tensors), call.present)


def convolution(call: Call) -> Kernel:
    """Build Conv over one to three spatial axes."""
    spatial = _spatial(call, _CONVOLUTIONS)
    strides = call.integers("strides") or (1,) * spatial
    dilations = call.integers("dilations") or (1,) * spatial
    kernel = call.integers("kernel_shape") or call.shape(1)[2:]
    groups = call.integer("group", 1)
    pads = explicit_pads(call, kernel=kernel, strides=strides, dilations=dilations)
    padding, extra = split_pads(pads)
    convolve = _CONVOLUTIONS[spatial]

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if extra is not None:
            x = functional.pad(x, extra)
        return convolve(x, weight, bias, strides, padding, dilations, groups)

    return Kernel(run, call.present)


def transposed_convolution(call: Call) -> Kernel:
    """Build ConvTranspose with explicit pads."""
    spatial = _spatial(call, _TRANSPOSED)
    strides = call.integers("strides") or (1,) * spatial
    dilations = call.integers("dilations") or (1,) * spatial
    output_padding = call.integers("output_padding") or (0,) * spatial
    groups = call.integer("group", 1)
    if call.text("auto_pad", "NOTSET") not in {"NOTSET", "VALID"} or call.integers("output_shape"):
        raise call.unsupported("explicit pads", "auto_pad or output_shape")
    pads = call.integers("pads") or (0,) * (2 * spatial)
    padding, extra = pads[:spatial], pads[spatial:]
    if padding != extra:
        raise call.unsupported("the same padding on both sides", pads)
    convolve = _TRANSPOSED[spatial]

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return convolve(x, weight, bias, strides, padding, output_padding, groups, dilations)

    return Kernel(run, call.present)


def _spatial(call: Call, known: Mapping[int, Callable[..., Tensor]]) -> int:
    spatial = call.rank() - 2
    if spatial not in known:
        raise call.unsupported("one to three spatial axes", spatial)
    return spatial
