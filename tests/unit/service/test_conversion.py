"""Pickled checkpoints are read in a child, and what is in them is never run."""

import os
from pathlib import Path

import pytest
import torch

from auditor.errors import InputError, ResourceError, UnsupportedError
from auditor.record.pickled import ForeignValue
from service.conversion import read_pickled


class Malicious:
    """Creates a file when it is unpickled by whoever runs what a pickle says."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self._target),)


def test_tensors_and_plain_values_come_back_as_they_were(tmp_path: Path) -> None:
    content = {
        "state_dict": {
            "weight": torch.tensor([[1.5, -2.0]]),
            "half": torch.tensor([0.1], dtype=torch.bfloat16),
        },
        "global_step": 7,
        "nested": [1, (2.5, None, True), {"name": "x"}],
        0: torch.tensor(3),
    }
    torch.save(content, tmp_path / "model.ckpt")

    found = read_pickled(tmp_path / "model.ckpt")

    assert isinstance(found, dict)
    assert found["state_dict"]["weight"].equal(torch.tensor([[1.5, -2.0]]))
    assert found["state_dict"]["half"].equal(torch.tensor([0.1], dtype=torch.bfloat16))
    assert found["nested"] == [1, [2.5, None, True], {"name": "x"}]
    assert (found["global_step"], found["0"].item()) == (7, 3)


def test_the_malicious_pickle_is_malicious(tmp_path: Path) -> None:
    torch.save({"weight": Malicious(tmp_path / "made")}, tmp_path / "model.bin")

    torch.load(tmp_path / "model.bin", weights_only=False)

    assert (tmp_path / "made").exists()


def test_a_malicious_pickle_is_refused_by_name_and_not_run(tmp_path: Path) -> None:
    torch.save({"weight": Malicious(tmp_path / "made")}, tmp_path / "model.bin")

    with pytest.raises(UnsupportedError, match=r"model\.bin.*posix\.mkdir, which was not run"):
        read_pickled(tmp_path / "model.bin")

    assert [path.name for path in tmp_path.iterdir()] == ["model.bin"]


def test_a_whole_module_is_refused_by_its_class(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(1, 1), tmp_path / "model.pt")

    with pytest.raises(UnsupportedError, match=r"torch\.nn\.modules\.linear\.Linear"):
        read_pickled(tmp_path / "model.pt")


def test_a_tensor_larger_than_its_file_meets_the_limit_on_memory(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1).expand(2**40)}, tmp_path / "model.pt")

    with pytest.raises(ResourceError, match="memory"):
        read_pickled(tmp_path / "model.pt")


def test_what_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"hello")

    with pytest.raises(InputError, match=r"model\.bin"):
        read_pickled(tmp_path / "model.bin")


def test_tensors_that_are_not_treated_are_left_behind_with_their_kind(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1, dtype=torch.complex64), "b": {1, 2}}, tmp_path / "model.pt")

    assert read_pickled(tmp_path / "model.pt") == {
        "a": ForeignValue("tensor of strided complex64"),
        "b": ForeignValue("set"),
    }
