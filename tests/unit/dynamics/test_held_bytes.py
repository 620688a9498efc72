"""What a value holds is counted once, through everything that a run keeps."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from auditor.dynamics.held_bytes import stores_of
from auditor.dynamics.state import TrainingState
from auditor.model.traced import trace


class Elsewhere:
    """Somebody else's."""

    def __init__(self) -> None:
        self.tensor = torch.zeros(1000)


def held(value: object) -> int:
    return sum(stores_of(value, passing_over=Elsewhere).values())


def test_tensors_arrays_and_bytes_count_in_containers() -> None:
    value = {"a": (torch.zeros(10), [np.zeros(5)]), "b": b"12345", "c": "text", "d": 7}

    assert held(value) == 10 * 4 + 5 * 8 + 5


def test_what_is_shared_counts_once_and_views_as_their_whole() -> None:
    tensor, array = torch.zeros(10), np.zeros(10)

    assert held((tensor, tensor[:2], tensor.view(2, 5), tensor.detach())) == 40
    assert held((array[3:5], array[:1])) == 80


def test_objects_of_the_package_are_followed() -> None:
    state = TrainingState(
        theta=torch.zeros(4), slots={"momentum": torch.zeros(4)}, buffers={"n": torch.zeros(2)}
    )

    assert held([state]) == 40


def test_others_objects_are_not() -> None:
    @dataclass
    class Other:
        tensor: Tensor

    assert held([Elsewhere(), Other(torch.zeros(9))]) == 0


def test_what_functions_and_modules_hold_counts() -> None:
    constant = torch.zeros(100)
    linear = nn.Linear(3, 2)

    assert held(lambda: constant) == 400
    assert held(linear) == 4 * (3 * 2 + 2)


def test_constants_of_a_trace_count() -> None:
    constant = torch.arange(100.0)
    traced = trace(lambda x: x + constant, (torch.zeros(100),))

    assert held(traced) >= 400
