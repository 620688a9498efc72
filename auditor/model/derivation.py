"""Replay how a deployed model was made from a checkpoint, on named tensors."""

from collections.abc import Mapping

import torch
from torch import Tensor

from auditor.errors import PreconditionError, UnsupportedError
from auditor.model.tensors import DTYPES
from auditor.plan.derivation import (
    Cast,
    DerivationStep,
    FoldBatchNorm,
    MergeLora,
    Rename,
    SameValues,
)
from auditor.stagelog.tensors import DTYPES as DTYPE_NAMES

_BY_NAME = {name: DTYPES[code] for code, name in DTYPE_NAMES.items()}

Tensors = dict[str, Tensor]


def derive(tensors: Mapping[str, Tensor], steps: tuple[DerivationStep, ...]) -> Tensors:
    """Return the tensors of the deployed model.

    Args:
        tensors: The checkpoint.
        steps: What was done to it, in order.

    Raises:
        PreconditionError: If a step finds nothing to act on.
        UnsupportedError: If a step cannot be replayed.
    """
    result = dict(tensors)
    for position, step in enumerate(steps):
        where = f"derivation[{position}]"
        match step:
            case MergeLora():
                result = _merged(result, step, where=where)
            case Cast():
                dtype = _BY_NAME[step.dtype]
                result = {
                    name: t.to(dtype) if t.is_floating_point() else t for name, t in result.items()
                }
            case FoldBatchNorm():
                result = _folded(result, step, where=where)
            case Rename():
                result = _renamed(result, step, where=where)
            case SameValues():
                raise UnsupportedError(
                    where,
                    expected="same_values alone",
                    found=f"{len(steps)} steps",
                    remedy="Declare what was done, or compare values, not both.",
                )
    return result


def _merged(tensors: Tensors, step: MergeLora, *, where: str) -> Tensors:
    """Return W + scale B A in place of each adapted layer; Hu et al. (2022), equation 3."""
    factors: dict[str, dict[str, str]] = {}
    for name in tensors:
        parts = name.split(".")
        for side, part in (("a", step.a), ("b", step.b)):
            if part in parts:
                prefix = ".".join(parts[: parts.index(part)])
                factors.setdefault(prefix, {})[side] = name
    if not factors:
        raise _nothing(where, f"tensors with {step.a} and {step.b} in their names")
    result = dict(tensors)
    for prefix, names in factors.items():
        if set(names) != {"a", "b"}:
            raise _nothing(where, f"both {step.a} and {step.b} of {prefix}")
        a, b = result.pop(names["a"]), result.pop(names["b"])
        at = next((n for n in (f"{prefix}.{step.base}.weight", f"{prefix}.weight") if n in result),
                  None)  # fmt: skip
        if at is None:
            raise _nothing(where, f"{prefix}.{step.base}.weight")
        weight = result.pop(at)
        delta = (b @ a) * step.scale
        if delta.shape != weight.shape:
            delta = delta.T  # layers that keep [in, out], such as GPT-2's
        if a.dim() != 2 or delta.shape != weight.shape:
            raise UnsupportedError(
                f"{where}: {prefix}",
                expected=f"matrices whose product is {list(weight.shape)}",
                found=f"{list(b.shape)} times {list(a.shape)}",
                remedy="Compare values instead: derivation same_values.",
            )
        result[f"{prefix}.weight"] = weight + delta
        inner = f"{prefix}.{step.base}."
        for name in [n for n in result if n.startswith(inner)]:
            result[f"{prefix}.{name.removeprefix(inner)}"] = result.pop(name)
    return result


def _folded(tensors: Tensors, step: FoldBatchNorm, *, where: str) -> Tensors:
    """Return the layers with their norms' running statistics folded in.

    w' = w gamma / sqrt(var + eps), b' = (b - mean) gamma / sqrt(var + eps) + beta, by output
    channel, which is a layer's first axis; as ``torch.nn.utils.fuse_conv_bn_weights``.
    """
    result = dict(tensors)
    for layer, norm in step.pairs.items():
        needed = [f"{layer}.weight", f"{norm}.running_mean", f"{norm}.running_var"]
        for name in needed:
            if name not in result:
                raise _nothing(where, name)
        weight, mean, variance = (result[name] for name in needed)
        gamma = result.get(f"{norm}.weight", torch.ones_like(mean))
        beta = result.get(f"{norm}.bias", torch.zeros_like(mean))
        bias = result.get(f"{layer}.bias", torch.zeros_like(mean))
        factor = gamma * torch.rsqrt(variance + step.eps)
        result[f"{layer}.weight"] = weight * factor.reshape(-1, *[1] * (weight.dim() - 1))
        result[f"{layer}.bias"] = (bias - mean) * factor + beta
        for name in [n for n in result if n.startswith(f"{norm}.")]:
            del result[name]
    return result


def _renamed(tensors: Tensors, step: Rename, *, where: str) -> Tensors:
    if not any(name.startswith(step.prefix) for name in tensors):
        raise _nothing(where, f"names that begin with {step.prefix}")
    return {
        step.to + name.removeprefix(step.prefix) if name.startswith(step.prefix) else name: tensor
        for name, tensor in tensors.items()
    }


def _nothing(where: str, expected: str) -> PreconditionError:
    return PreconditionError(
        where,
        expected=f"in the final checkpoint: {expected}",
        found="none",
        remedy="Declare what was done to the model; `stageaudit log inspect` lists its parts.",
    )
