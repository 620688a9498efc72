"""A computation that becomes non-finite has a result too: the error that says where and why.

So one counterfactual that diverges does not end an audit: what reads its result raises the error
again, and the report turns it into a diagnosis (docs/decisions/0011).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

import numpy as np
from safetensors.numpy import save as save_arrays

from auditor.errors import NumericalError

TENSOR = "numerical_error"
"""Name of the only tensor, uint8, of a result that is an error."""

Spec = TypeVar("Spec")


class HasNumbers(Protocol):
    """An array or tensor."""

    def tolist(self) -> object:
        """Return the numbers."""


def failure_blob(error: NumericalError) -> bytes:
    """Return an error as the result of an action: safetensors like the results it stands for."""
    fields = {
        "where": error.where,
        "expected": error.expected,
        "found": error.found,
        "remedy": error.remedy,
    }
    data = np.frombuffer(json.dumps(fields, sort_keys=True).encode(), dtype=np.uint8)
    return save_arrays({TENSOR: data})


def require_no_failure(tensors: Mapping[str, HasNumbers]) -> None:
    """Refuse a result that is an error.

    Args:
        tensors: All arrays of a result.

    Raises:
        NumericalError: The one that :func:`failure_blob` wrote.
    """
    if TENSOR in tensors:
        numbers = np.asarray(tensors[TENSOR].tolist(), dtype=np.uint8)
        raise NumericalError(**json.loads(numbers.tobytes()))


def results_or_failures(
    specs: Sequence[Spec], compute: Callable[[Sequence[Spec]], Sequence[bytes]]
) -> list[bytes]:
    """Return the results of a group, errors as results for those that become non-finite.

    A group in which something diverges is halved until what diverges is alone; an action that is
    alone stops at the block in which it does.

    Args:
        specs: At least one action.
        compute: Computes the results of a group, or raises.
    """
    try:
        return list(compute(specs))
    except NumericalError as error:
        if len(specs) == 1:
            return [failure_blob(error)]
    half = len(specs) // 2
    parts = (specs[:half], specs[half:])
    return [blob for part in parts for blob in results_or_failures(part, compute)]
