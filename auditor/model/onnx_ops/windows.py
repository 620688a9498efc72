"""Pads of sliding windows: convolution and pooling share them."""

from collections.abc import Sequence

from auditor.model.onnx_ops.call import Call


def explicit_pads(
    call: Call, *, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """Return (before, after) of each spatial axis, having resolved ``auto_pad``.

    Args:
        call: The node; operand 0 is [N, C, *spatial].
        kernel: Window lengths.
        strides: Steps between windows.
        dilations: Distances between entries of a window.
    """
    spatial = call.shape()[2:]
    auto = call.text("auto_pad", "NOTSET")
    if not len(kernel) == len(strides) == len(dilations) == len(spatial):
        raise call.wrong(f"{len(spatial)} numbers in kernel_shape, strides and dilations", "others")
    if min((*strides, *dilations, *kernel), default=1) < 1:
        raise call.wrong("positive kernel_shape, strides and dilations", "others")
    if auto == "NOTSET":
        pads = call.integers("pads") or (0,) * (2 * len(spatial))
        if len(pads) != 2 * len(spatial) or min(pads) < 0:
            raise call.wrong(f"{2 * len(spatial)} pads >= 0", pads)
        return tuple(zip(pads[: len(spatial)], pads[len(spatial) :], strict=True))
    if auto == "VALID":
        return tuple((0, 0) for _ in spatial)
    if auto not in {"SAME_UPPER", "SAME_LOWER"}:
        raise call.wrong("auto_pad NOTSET, VALID, SAME_UPPER or SAME_LOWER", auto)
    found = []
    for size, length, stride, dilation in zip(spatial, kernel, strides, dilations, strict=True):
        windows = -(-size // stride)
        total = max((windows - 1) * stride + dilation * (length - 1) + 1 - size, 0)
        small, large = total // 2, total - total // 2
        found.append((small, large) if auto == "SAME_UPPER" else (large, small))
    return tuple(found)


def split_pads(
    pads: Sequence[tuple[int, int]], *, windows: Sequence[int] | None = None
) -> tuple[tuple[int, ...], list[int] | None]:
    """Return symmetric padding for the operation itself, or pads to apply before it.

    The second value is in the order of ``torch.nn.functional.pad`` (last axis first).

    Args:
        pads: (before, after) of each axis.
        windows: Window lengths, where the operation takes at most half of one as padding.
    """
    lengths = windows or [2 * before for before, _ in pads]
    if all(
        before == after and 2 * before <= length
        for (before, after), length in zip(pads, lengths, strict=True)
    ):
        return tuple(before for before, _ in pads), None
    return (0,) * len(pads), [pad for pair in reversed(pads) for pad in pair]
