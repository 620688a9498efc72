"""Dropout whose masks are a function of what they are for: seed, step, place in the step, site.

A mask that comes from a generator's state can be made again only by whoever repeats every draw
before it. These masks are hashes: of a key for each example's place in its step, the number of the
dropout module, and the position of the entry within the example. A recorder and a replay compute
the same bits on every machine, for any part of a batch, and in every lane of a ``vmap``.
"""

import hashlib

import numpy as np
import torch
from torch import Tensor

from auditor.errors import ShapeError

_WORD = 2**32
_SALT = 0x9E3779B1
"""Spreads the numbers of sites: 2^32 over the golden ratio."""


def slot_keys(seed: int, *, step: int, count: int) -> np.ndarray:
    """Return the keys of the first places of a step, [count] int64.

    A place's key does not depend on ``count``. Philox (Salmon et al. 2011, doi
    10.1145/2063384.2063405) under the first 128 bits of the SHA-256 of seed and step.

    Args:
        seed: Of the stage.
        step: Counted from the stage's first.
        count: How many.
    """
    text = f"dropout\x1f{seed}\x1f{step}"
    key = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")
    drawn: np.ndarray = np.random.Philox(key=key).random_raw(count)
    return drawn.view(np.int64)


def keyed_dropout(values: Tensor, keys: Tensor, *, site: int, rate: float) -> Tensor:
    r"""Return values with some entries 0 and the others divided by :math:`1 - p`.

    Pure; safe inside ``torch.func`` transforms, with lanes of values, of keys or of both.

    Args:
        values: [n, ...], where n is a multiple of the number of examples and the rows of an example
            follow each other.
        keys: One for each example, [B] int64.
        site: Number of the module.
        rate: p in [0, 1).

    Raises:
        ShapeError: If the rows cannot be told apart by example.
    """
    examples = keys.shape[0]
    if values.dim() == 0 or examples == 0 or values.shape[0] % examples:
        raise ShapeError(
            f"dropout {site}",
            expected=f"a first axis that is the batch of {examples} examples, or rows of each",
            found=f"shape {tuple(values.shape)}",
            remedy="Apply dropout where the batch is the first axis.",
        )
    drawn = _words(keys, entries=values.numel() // examples, site=site)
    kept = drawn >= round(rate * _WORD) - _WORD // 2
    return values * (kept.reshape(values.shape).to(values.dtype) * (1 / (1 - rate)))


def _words(keys: Tensor, *, entries: int, site: int) -> Tensor:
    """Return 32 bits for each example and entry, [B, entries] int32."""
    low = ((keys << 32) >> 32).to(torch.int32)
    high = (keys >> 32).to(torch.int32)
    entry = torch.arange(entries, dtype=torch.int32, device=keys.device)
    first = _mixed(entry ^ (low ^ _signed(site * _SALT))[:, None])
    return _mixed(first + high[:, None])


def _mixed(words: Tensor) -> Tensor:
    """Return a bijection of 32-bit words that spreads every bit over all of them.

    The ``lowbias32`` of Wellons (2018), "Prospecting for Hash Functions"; products wrap around.
    """
    words = (words ^ ((words >> 16) & 0xFFFF)) * 0x7FEB352D
    words = (words ^ ((words >> 15) & 0x1FFFF)) * _signed(0x846CA68B)
    return words ^ ((words >> 16) & 0xFFFF)


def _signed(word: int) -> int:
    """Return the int32 with the same bits."""
    return (word + _WORD // 2) % _WORD - _WORD // 2
