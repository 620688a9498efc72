"""Attention and rotary position embedding, which operator set 23 has as operators of their own."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from auditor.model.onnx_ops.call import DTYPES, Call, Kernel
from auditor.model.onnx_tensors import dtype_name

MASK, PAST_KEY, PAST_VALUE, LENGTHS = 3, 4, 5, 6
"""Positions of the optional operands of Attention, after queries, keys and values."""


def attention(call: Call) -> Kernel:
    """Build Attention: scaled dot products, a soft cap, a mask, softmax, values.

    Written out in matrix products: torch's fused attention has neither forward nor second
    derivatives. A query that may look at nothing gives zeros.
    """
    flat = call.rank() == 3
    heads = (call.integer("q_num_heads"), call.integer("kv_num_heads")) if flat else (0, 0)
    depth = call.shape()[-1] // (heads[0] or 1)
    scale = call.number("scale", 1 / math.sqrt(max(depth, 1)))
    cap, mode = call.number("softcap", 0.0), call.integer("qk_matmul_output_mode", 0)
    precise = call.integer("softmax_precision", 0)
    softmax_dtype = DTYPES[dtype_name(precise, where=call.where)] if precise else None
    bias = _bias(call)
    results = len(call.node.outputs)
    if mode not in range(4):
        raise call.wrong("qk_matmul_output_mode from 0 to 3", mode)
    if call.has(PAST_KEY) != call.has(PAST_VALUE) or (call.has(PAST_KEY) and call.has(LENGTHS)):
        raise call.wrong("past keys with past values, and no lengths then", "others")

    def run(*operands: Tensor) -> Tensor | tuple[Tensor, ...]:
        given = dict(zip(call.present, operands, strict=True))
        q, k, v = given[0], given[1], given[2]
        if flat:
            q = _split_heads(q, heads[0])
            k, v = _split_heads(k, heads[1]), _split_heads(v, heads[1])
        if PAST_KEY in given:
            k = torch.cat((given[PAST_KEY], k), dim=2)
            v = torch.cat((given[PAST_VALUE], v), dim=2)
        repeats = q.shape[1] // k.shape[1]
        keys, values = (t if repeats == 1 else t.repeat_interleave(repeats, dim=1) for t in (k, v))
        raw = (q * scale) @ keys.transpose(-1, -2)  # [B, H, L, S]
        capped = cap * torch.tanh(raw / cap) if cap > 0 else raw
        hidden = bias(q, k.shape[2], given)
        biased = capped if hidden is None else capped + hidden
        weights = functional.softmax(biased, dim=-1, dtype=softmax_dtype)
        if hidden is not None:
            blind = torch.isneginf(hidden).all(dim=-1, keepdim=True)
            weights = torch.where(blind, 0, weights)
        weights = weights.to(q.dtype)
        y = weights @ values
        if flat:
            y = y.transpose(1, 2).flatten(2)
        seen = (raw, capped, biased, weights)[mode]
        return (y, k, v, seen)[:results] if results > 1 else y

    return Kernel(run, call.present, results=results)


def rotary_embedding(call: Call) -> Kernel:
    """Build RotaryEmbedding: pairs of entries are turned by an angle of their position."""
    flat = call.rank() == 3
    heads = call.integer("num_heads", 0)
    if flat and heads < 1:
        raise call.wrong("num_heads >= 1 for an operand of three axes", heads)
    interleaved = bool(call.integer("interleaved", 0))
    depth = call.shape()[-1] // (heads if flat else 1)
    turned = call.integer("rotary_embedding_dim", 0) or depth
    if turned % 2 or not 0 < turned <= depth:
        raise call.wrong(f"an even rotary_embedding_dim up to {depth}", turned)

    def run(x: Tensor, *tables: Tensor) -> Tensor:
        cos, sin = tables[0], tables[1]
        places = tables[2] if len(tables) > 2 else None
        states = _split_heads(x, heads) if flat else x  # [B, H, L, D]
        if places is not None:
            shape = (*places.shape, cos.shape[-1])
            index = places.reshape(-1).to(torch.int64)
            cos, sin = (table.index_select(0, index).reshape(shape) for table in (cos, sin))
        cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)  # [B, 1, L, turned / 2]
        moving, still = states[..., :turned], states[..., turned:]
        if interleaved:
            a, b = moving[..., 0::2], moving[..., 1::2]
            pairs = torch.stack((cos * a - sin * b, sin * a + cos * b), dim=-1).flatten(-2)
        else:
            a, b = moving[..., : turned // 2], moving[..., turned // 2 :]
            pairs = torch.cat((cos * a - sin * b, sin * a + cos * b), dim=-1)
        y = torch.cat((pairs, still), dim=-1)
        return y.transpose(1, 2).flatten(2) if flat else y

    return Kernel(run, call.present)


def _split_heads(x: Tensor, heads: int) -> Tensor:
    """Return [B, L, H D] as [B, H, L, D]."""
    return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)


def _bias(call: Call) -> Callable[[Tensor, int, dict[int, Tensor]], Tensor | None]:
    """Return what is added to the scores: -inf where a query must not look, or None."""
    causal = bool(call.integer("is_causal", 0))
    left, right = call.integer("left_window_size", -1), call.integer("right_window_size", -1)
    if min(left, right) < -1:
        raise call.wrong("window sizes >= -1", (left, right))

    def bias(q: Tensor, keys: int, given: dict[int, Tensor]) -> Tensor | None:
        parts = []
        if MASK in given:
            mask = given[MASK]
            missing = keys - mask.shape[-1]
            if mask.dtype == torch.bool:
                mask = _hidden(~mask, q)
            parts.append(functional.pad(mask, (0, missing), value=-math.inf) if missing else mask)
        if causal or max(left, right) >= 0:
            # Position of key j behind (+) or ahead of (-) query i: [L, S], or [B, 1, L, S].
            place = torch.arange(q.shape[2], device=q.device).unsqueeze(1)
            if PAST_KEY in given:
                place = place + given[PAST_KEY].shape[2]
            if LENGTHS in given:
                place = place + (given[LENGTHS] - q.shape[2]).reshape(-1, 1, 1, 1)
            behind = place - torch.arange(keys, device=q.device)
            hidden = torch.zeros_like(behind, dtype=torch.bool)
            hidden = hidden | (behind < 0) if causal else hidden
            hidden = hidden | (behind > left) if left >= 0 else hidden
            hidden = hidden | (-behind > right) if right >= 0 else hidden
            parts.append(_hidden(hidden, q))
        if LENGTHS in given:
            beyond = torch.arange(keys, device=q.device) >= given[LENGTHS].reshape(-1, 1, 1, 1)
            parts.append(_hidden(beyond, q))
        return sum(parts[1:], parts[0]) if parts else None

    return bias


def _hidden(where: Tensor, like: Tensor) -> Tensor:
    return torch.zeros_like(where, dtype=like.dtype).masked_fill(where, -math.inf)
