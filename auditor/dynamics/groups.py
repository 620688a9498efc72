"""Parameter groups as contiguous pieces of theta: a layout that puts each group in one run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from auditor.model.layout import ParameterLayout
from auditor.stagelog.log import ParameterGroup, ParameterInfo


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class GroupSpan:
    """Where a group, or the frozen rest, lies in theta.

    Attributes:
        begin: First entry of theta.
        end: One past the last entry.
        first_tensor: First name of the layout.
        layout: The group's own layout.
    """

    begin: int
    end: int
    first_tensor: int
    layout: ParameterLayout

    @property
    def end_tensor(self) -> int:
        """One past the last name of the layout."""
        return self.first_tensor + len(self.layout.names)

    def entries(self, values: Tensor) -> Tensor:
        """Return the group's part of [..., P]; the tensor itself when the group is all of it."""
        whole = values.shape[-1] == self.end - self.begin
        return values if whole else values[..., self.begin : self.end]

    def numbers(self, values: Tensor) -> Tensor:
        """Return the group's part of [..., n]; the tensor itself when the group is all of it."""
        whole = values.shape[-1] == self.end_tensor - self.first_tensor
        return values if whole else values[..., self.first_tensor : self.end_tensor]

    def expander(self, *, uniform: bool) -> Callable[[Tensor], Tensor]:
        """Return what brings one number per tensor to [P] of the group.

        Args:
            uniform: Whether all tensors of the group have the same number, so that [1] will do.
        """
        return _first if uniform else self.layout.expand


def _first(values: Tensor) -> Tensor:
    return values[..., :1]


def grouped_layout(
    parameters: Mapping[str, ParameterInfo], groups: Sequence[ParameterGroup], *, alive: set[str]
) -> ParameterLayout:
    """Return the layout of a stage: group after group, then the frozen parameters by name.

    Args:
        parameters: The manifest's parameters; buffers and tied aliases have no place in theta.
        groups: The stage's groups.
        alive: Names that exist in the stage.
    """
    own = {
        name
        for name in alive
        if parameters[name].kind == "parameter" and parameters[name].tied_to is None
    }
    grouped = [name for group in groups for name in group.parameters if name in own]
    names = (*grouped, *sorted(own - set(grouped)))
    return ParameterLayout(names, tuple(parameters[name].shape for name in names))


def group_spans(layout: ParameterLayout, groups: Sequence[ParameterGroup]) -> tuple[GroupSpan, ...]:
    """Return one span per group and one for the frozen rest (perhaps empty), in theta's order."""
    spans = []
    tensor = begin = 0
    trainable = {name for group in groups for name in group.parameters}
    frozen = sum(name not in trainable for name in layout.names)
    counts = [sum(name in layout.names for name in group.parameters) for group in groups]
    for count in (*counts, frozen):
        part = ParameterLayout(
            layout.names[tensor : tensor + count], layout.shapes[tensor : tensor + count]
        )
        spans.append(
            GroupSpan(begin=begin, end=begin + part.size, first_tensor=tensor, layout=part)
        )
        tensor, begin = tensor + count, begin + part.size
    return tuple(spans)
