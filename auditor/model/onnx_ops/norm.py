"""Normalisations, and softmax.

Derivatives of ``vmap(grad(...))`` by the scale of torch's layer and batch normalisation are wrong
(torch 2.13): inside a ``vmap`` scale and offset are applied apart, which there costs nothing.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from auditor.model.onnx_ops.call import Call, Kernel
from auditor.model.outside import inside_vmap


def batch_normalization(call: Call) -> Kernel:
    """Build BatchNormalization in the mode of the caller; the graph's own mode says nothing.

    The exporter writes inference form also for a module in training (see docs on model import).
    In ``train`` mode the batch's statistics normalise, and the running ones are updated as torch
    does: new = m old + (1 - m) batch, with the *unbiased* variance, where m is ONNX's momentum.
    They depend on the parameters and are differentiated like any result: buffers are state.

    Raises:
        UnsupportedError: If the node itself asks for training mode.
    """
    epsilon, keep = call.number("epsilon", 1e-5), call.number("momentum", 0.9)
    if call.integer("training_mode", 0):
        raise call.unsupported("a graph exported in evaluation mode", "training_mode = 1")
    per_channel = [1, -1, *([1] * (call.rank() - 2))]
    if call.mode == "eval":

        def infer(x: Tensor, *state: Tensor) -> Tensor:
            scale, bias, mean, variance = state
            # torch.batch_norm takes no derivative by the running statistics, which are state here.
            slope = scale * torch.rsqrt(variance + epsilon)  # [C]
            offset = bias - mean * slope  # [C]
            y = x * slope.reshape(per_channel) + offset.reshape(per_channel)
            return y.to(x.dtype)

        return Kernel(infer, (0, 1, 2, 3, 4))
    axes = [0, *range(2, call.rank())]
    entries = math.prod(call.shape()[axis] for axis in axes)
    if entries < 2:
        raise call.wrong("two or more values per channel when training", entries)

    def run(x: Tensor, *state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scale, bias, mean, variance = state
        # In two passes: stable, and on a CPU several times as fast as torch.var_mean.
        batch_mean = x.mean(dim=axes)  # [C]
        squares = (x - batch_mean.reshape(per_channel)).square().sum(dim=axes)  # [C]
        if inside_vmap():
            y = functional.batch_norm(x, None, None, training=True, eps=epsilon)
            y = (y * scale.reshape(per_channel) + bias.reshape(per_channel)).to(x.dtype)
        else:
            y = functional.batch_norm(x, None, None, scale, bias, training=True, eps=epsilon)
        return (
            y,
            keep * mean + (1 - keep) * batch_mean,
            keep * variance + (1 - keep) * squares / (entries - 1),
        )

    return Kernel(run, (0, 1, 2, 3, 4), results=3, updates=((3, 1), (4, 2)))


def layer_normalization(call: Call) -> Kernel:
    """Build LayerNormalization over the axes from ``axis`` on."""
    shape = call.shape()[call.axis(call.integer("axis", -1)) :]
    epsilon = call.number("epsilon", 1e-5)
    if sum(name != "" for name in call.node.outputs) > 1:
        return _layer_normalization_with_statistics(call, axes=len(shape), epsilon=epsilon)

    def run(x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
        scale, bias = _fit(scale, shape), None if bias is None else _fit(bias, shape)
        if not inside_vmap():
            return functional.layer_norm(x, shape, scale, bias, epsilon)
        y = functional.layer_norm(x, shape, eps=epsilon) * scale
        return y if bias is None else y + bias

    return Kernel(run, call.present)


def group_normalization(call: Call) -> Kernel:
    """Build GroupNormalization with one scale and bias per channel."""
    groups, epsilon = call.integer("num_groups"), call.number("epsilon", 1e-5)
    return Kernel(lambda x, s, b: functional.group_norm(x, groups, s, b, epsilon), (0, 1, 2))


def instance_normalization(call: Call) -> Kernel:
    """Build InstanceNormalization: each channel of each example by itself."""
    epsilon = call.number("epsilon", 1e-5)
    channels = call.shape()[1]
    # One group per channel is the same function, and has rules for every transform.
    return Kernel(lambda x, s, b: functional.group_norm(x, channels, s, b, epsilon), (0, 1, 2))


def rms_normalization(call: Call) -> Kernel:
    """Build RMSNormalization over the axes from ``axis`` on."""
    first, epsilon = call.axis(call.integer("axis", -1)), call.number("epsilon", 1e-5)
    axes = list(range(first, call.rank()))

    def run(x: Tensor, scale: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(dim=axes, keepdim=True) + epsilon) * scale

    return Kernel(run, (0, 1))


def softmax(call: Call) -> Kernel:
    """Build Softmax along one axis."""
    axis = call.axis(call.integer("axis", -1))
    return Kernel(lambda x: functional.softmax(x, dim=axis), (0,))


def log_softmax(call: Call) -> Kernel:
    """Build LogSoftmax along one axis."""
    axis = call.axis(call.integer("axis", -1))
    return Kernel(lambda x: functional.log_softmax(x, dim=axis), (0,))


def lp_normalization(call: Call) -> Kernel:
    """Build LpNormalization: divide by the norm of order 1 or 2 along an axis; 0 stays 0."""
    axis, order = call.axis(call.integer("axis", -1)), call.integer("p", 2)

    def run(x: Tensor) -> Tensor:
        sizes = (x.abs() if order == 1 else x.square()).sum(dim=axis, keepdim=True)
        sizes = torch.where(sizes == 0, 1, sizes)
        return x / (sizes if order == 1 else sizes.sqrt())

    return Kernel(run, (0,))


def hardmax(call: Call) -> Kernel:
    """Build Hardmax: 1 at the first largest entry along an axis, 0 elsewhere."""
    axis = call.axis(call.integer("axis", -1))

    def run(x: Tensor) -> Tensor:
        places = torch.argmax(x, dim=axis, keepdim=True)
        return torch.zeros_like(x).scatter(axis, places, 1)

    return Kernel(run, (0,))


def _layer_normalization_with_statistics(call: Call, *, axes: int, epsilon: float) -> Kernel:
    normalized = [-1 - i for i in range(axes)]
    results = len(call.node.outputs)

    def run(x: Tensor, scale: Tensor, bias: Tensor | None = None) -> tuple[Tensor, ...]:
        mean = x.mean(dim=normalized, keepdim=True)
        centred = x - mean
        inverse = torch.rsqrt(centred.square().mean(dim=normalized, keepdim=True) + epsilon)
        y = centred * inverse * scale
        return (y if bias is None else y + bias, mean, inverse)[:results]

    return Kernel(run, call.present, results=results)


def _fit(parameter: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return a parameter of exactly the normalised shape; ONNX lets it broadcast."""
    if tuple(parameter.shape) == shape:
        return parameter
    if math.prod(parameter.shape) == math.prod(shape):
        return parameter.reshape(shape)
    return parameter.expand(shape)
