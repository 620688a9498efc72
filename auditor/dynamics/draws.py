"""Counter-based randomness: every draw is a function of what it is for (Philox 4x64)."""

import hashlib

import numpy as np

from auditor.plan.sampling import used_examples


def generator_for(purpose: str, *parts: str | int) -> np.random.Generator:
    """Return the generator that belongs to a purpose and its parts, the same on every machine.

    Philox (Salmon et al. 2011, doi 10.1145/2063384.2063405) needs no state to be carried, only a
    key: the first 128 bits of the SHA-256 of the purpose and the parts.

    Args:
        purpose: What is drawn, so that no two uses share a stream.
        parts: Seed, log digest, step and so on.
    """
    text = "\x1f".join((purpose, *map(str, parts)))
    key = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")
    return np.random.Generator(np.random.Philox(key=key))


def subsample(size: int, *, fraction: float, key: tuple[int, str, int, int]) -> np.ndarray:
    """Return which positions of a step's batch are used: the first b of a random order, sorted.

    For one key the positions for a smaller b are among those
    for a larger one (nested), and they do not depend on any intervention.

    Args:
        size: Number of examples B of the step.
        fraction: b / B, in (0, 1]; 1 keeps the recorded order.
        key: Seed, log digest, step and replica.
    """
    used = used_examples(size, fraction=fraction)
    if used >= size:
        return np.arange(size)
    order = np.argsort(generator_for("subsample", *key).random(size), kind="stable")
    return np.sort(order[:used])
