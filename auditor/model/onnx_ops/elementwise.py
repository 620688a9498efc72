"""Operators that act on each entry, with broadcasting."""

import functools
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from auditor.model.keyed_dropout import keyed_dropout
from auditor.model.onnx_ops.call import DTYPES, Build, Call, Kernel
from auditor.model.onnx_tensors import dtype_name


def unary(function: Callable[[Tensor], Tensor]) -> Build:
    """Return an operator that applies ``function`` to its operand."""
    return lambda call: Kernel(function, (0,))


def binary(function: Callable[[Tensor, Tensor], Tensor]) -> Build:
    """Return an operator that applies ``function`` to its two operands."""
    return lambda call: Kernel(function, (0, 1))


def variadic(function: Callable[[Tensor, Tensor], Tensor]) -> Build:
    """Return an operator that combines one or more operands from the left."""

    def build(call: Call) -> Kernel:
        return Kernel(lambda *tensors: functools.reduce(function, tensors), call.present)

    return build


def with_numbers(function: Callable[..., Tensor], **defaults: float) -> Build:
    """Return an operator of one tensor whose floating attributes go by keyword to ``function``."""

    def build(call: Call) -> Kernel:
        numbers = {name: call.number(name, default) for name, default in defaults.items()}
        return Kernel(lambda x: function(x, **numbers), (0,))

    return build


def identity(call: Call) -> Kernel:
    """Build Identity."""
    return Kernel(lambda x: x, (0,))


def divide(call: Call) -> Kernel:
    """Build Div: integers are divided towards zero."""
    if call.tensor(0).is_floating_point():
        return Kernel(torch.div, (0, 1))
    return Kernel(lambda a, b: torch.div(a, b, rounding_mode="trunc"), (0, 1))


def modulo(call: Call) -> Kernel:
    """Build Mod: sign of the divisor, or with ``fmod`` of the dividend."""
    return Kernel(torch.fmod if call.integer("fmod", 0) else torch.remainder, (0, 1))


def power(call: Call) -> Kernel:
    """Build Pow: the result has the dtype of the base."""
    dtype = call.tensor(0).dtype
    if call.is_constant(1) and call.tensor(1).numel() == 1 and call.rank(1) <= call.rank(0):
        # A number keeps x ** 2 exact and cheap to differentiate, also at x = 0.
        exponent = call.host_number(1)
        return Kernel(lambda x: torch.pow(x, exponent).to(dtype), (0,))
    return Kernel(lambda x, y: torch.pow(x, y).to(dtype), (0, 1))


def mean(call: Call) -> Kernel:
    """Build Mean of one or more operands."""
    count = len(call.present)
    return Kernel(lambda *tensors: functools.reduce(torch.add, tensors) / count, call.present)


def gelu(call: Call) -> Kernel:
    """Build Gelu, exact or with the tanh approximation."""
    approximate = call.text("approximate", "none")
    if approximate not in {"none", "tanh"}:
        raise call.wrong("approximate 'none' or 'tanh'", approximate)
    return Kernel(lambda x: functional.gelu(x, approximate=approximate), (0,))


def clip(call: Call) -> Kernel:
    """Build Clip; either bound may be left out."""
    low, high = call.has(1), call.has(2)
    if low and high:
        return Kernel(lambda x, a, b: torch.clamp(x, min=a, max=b), (0, 1, 2))
    if low:
        return Kernel(lambda x, a: torch.clamp(x, min=a), (0, 1))
    if high:
        return Kernel(lambda x, b: torch.clamp(x, max=b), (0, 2))
    return Kernel(lambda x: x, (0,))


def is_infinite(call: Call) -> Kernel:
    """Build IsInf; either sign may be left out."""
    positive, negative = call.integer("detect_positive", 1), call.integer("detect_negative", 1)

    def kernel(x: Tensor) -> Tensor:
        wanted = ((x > 0) & bool(positive)) | ((x < 0) & bool(negative))
        return torch.isinf(x) & wanted

    return Kernel(kernel, (0,))


def cast(call: Call) -> Kernel:
    """Build Cast between the accepted dtypes."""
    dtype = DTYPES[dtype_name(call.integer("to"), where=call.where)]
    return Kernel(lambda x: x.to(dtype), (0,))


def cast_like(call: Call) -> Kernel:
    """Build CastLike: of the second operand only the dtype matters."""
    dtype = call.tensor(1).dtype
    return Kernel(lambda x: x.to(dtype), (0,))


def parametric_relu(call: Call) -> Kernel:
    """Build PRelu, whose slope broadcasts to the operand."""
    return Kernel(lambda x, slope: torch.where(x < 0, slope * x, x), (0, 1))


def swish(call: Call) -> Kernel:
    """Build Swish: x sigmoid(alpha x)."""
    alpha = call.number("alpha", 1.0)
    return Kernel(lambda x: x * torch.sigmoid(alpha * x), (0,))


def dropout(call: Call) -> Kernel:
    """Build Dropout where it does nothing, or has the seed that a recorder gives to its sites.

    Raises:
        UnsupportedError: If entries would be dropped by a mask that cannot be made again.
    """
    training = call.has(2) and bool(call.host_number(2))
    ratio = float(call.host_number(1)) if call.has(1) else 0.5
    single = sum(name != "" for name in call.node.outputs) == 1
    if training and 0 < ratio < 1 and single and "seed" in call.node.attributes:
        return _recorded_dropout(site=call.integer("seed"), rate=ratio)
    if training and ratio > 0:
        raise call.unsupported("dropout in evaluation mode or of rate 0", f"rate {ratio}")
    if single:
        return Kernel(lambda x: x, (0,))
    return Kernel(lambda x: (x, torch.ones_like(x, dtype=torch.bool)), (0,), results=2)


def _recorded_dropout(*, site: int, rate: float) -> Kernel:
    def kernel(x: Tensor, keys: Tensor | None = None) -> Tensor:
        return x if keys is None else keyed_dropout(x, keys, site=site, rate=rate)

    return Kernel(kernel, (0,), keyed=True)


def elu(x: Tensor, *, alpha: float) -> Tensor:
    """Return x, or alpha (exp(x) - 1) where x is negative."""
    # expm1 of the clamped argument: no overflow in the branch that is not taken.
    return torch.where(x > 0, x, alpha * torch.expm1(torch.clamp(x, max=0)))


def celu(x: Tensor, *, alpha: float) -> Tensor:
    """Return max(0, x) + min(0, alpha (exp(x / alpha) - 1))."""
    return torch.where(x > 0, x, alpha * torch.expm1(torch.clamp(x, max=0) / alpha))


def selu(x: Tensor, *, alpha: float, gamma: float) -> Tensor:
    """Return gamma times :func:`elu`."""
    return gamma * elu(x, alpha=alpha)


def hard_sigmoid(x: Tensor, *, alpha: float, beta: float) -> Tensor:
    """Return alpha x + beta, cut to [0, 1]."""
    return torch.clamp(alpha * x + beta, min=0, max=1)


def hard_swish(x: Tensor) -> Tensor:
    """Return x times :func:`hard_sigmoid` with slope 1/6."""
    return x * hard_sigmoid(x, alpha=1 / 6, beta=0.5)


def leaky_relu(x: Tensor, *, alpha: float) -> Tensor:
    """Return x, or alpha x where x is negative."""
    return functional.leaky_relu(x, alpha)


def thresholded_relu(x: Tensor, *, alpha: float) -> Tensor:
    """Return x where it exceeds alpha, else 0."""
    return torch.where(x > alpha, x, 0)


def shrink(x: Tensor, *, bias: float, lambd: float) -> Tensor:
    """Return x moved by ``bias`` towards 0 where it is beyond ``lambd``, else 0."""
    zero = torch.zeros_like(x)
    moved = torch.where(x > lambd, (x - bias).to(x.dtype), zero)
    return torch.where(x < -lambd, (x + bias).to(x.dtype), moved)


def mish(x: Tensor) -> Tensor:
    """Return x tanh(softplus(x))."""
    return x * torch.tanh(functional.softplus(x))


def softsign(x: Tensor) -> Tensor:
    """Return x / (1 + |x|)."""
    return x / (1 + x.abs())


SELU_ALPHA = 1.67326319217681884765625
SELU_GAMMA = 1.05070102214813232421875
