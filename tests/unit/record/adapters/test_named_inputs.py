"""Modules that are called by name, exported without a trace of it."""

import pytest
import torch
from torch import Tensor, nn

from auditor.errors import UnsupportedError
from auditor.model.onnx_graph import check_graph
from auditor.record.adapters.named_inputs import export_by_name


class Sum(nn.Module):
    """Takes its inputs by name, some of which may be missing."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))

    def forward(
        self, first: Tensor, second: Tensor | None = None, third: Tensor | None = None
    ) -> Tensor:
        assert second is None
        return self.scale * first + (0 if third is None else third)


def test_inputs_are_bound_by_name_and_the_module_is_left_as_it_was() -> None:
    module = Sum()
    in_front = module.forward
    module.forward = in_front  # type: ignore[method-assign] # as mixed precision does
    inputs = (torch.ones(2, 3), torch.ones(2, 3))

    graph = check_graph(export_by_name(module, inputs, input_names=["first", "third"]))

    assert [value.name for value in graph.inputs] == ["first", "third", "scale"]
    assert type(module) is Sum
    assert module.__dict__["forward"] is in_front


def test_no_inputs_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="1 to 3 input columns"):
        export_by_name(Sum(), (), input_names=[])
