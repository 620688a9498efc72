"""The size of a model as a recorder sees it, and of the examples of a dataset."""

from collections.abc import Mapping

from torch import nn

from auditor.record.evalset import ColumnValues, describe_column
from auditor.record.snapshot import parameter_names
from auditor.stagelog.size import StateSize


def state_size(model: nn.Module) -> StateSize:
    """Return what a checkpoint of the model holds; parameters that need no gradient are frozen."""
    seen: dict[int, int] = {
        id(tensor): tensor.numel() * tensor.element_size()
        for tensor in model.state_dict(keep_vars=True).values()
    }
    names = parameter_names(model)
    trained = [p for p in model.parameters() if p.requires_grad and id(p) in names]
    return StateSize(
        tensors=len(seen),
        state_bytes=sum(seen.values()),
        trained_bytes=sum(p.numel() * p.element_size() for p in trained),
        trained_tensors=len(trained),
    )


def example_bytes(columns: Mapping[str, ColumnValues]) -> int:
    """Return the bytes of one example as it is recorded; texts count as one code."""
    tensors = [describe_column(name, values)[0] for name, values in columns.items()]
    return sum(t[:1].numel() * t.element_size() for t in tensors)
