"""Record data-parallel training: rank 0 writes, the positions of all ranks are gathered.

Each process trains on its own part of a step; DistributedDataParallel averages the gradients, so
that the step's loss is the mean of the processes' means, whatever their lengths. That is what
gradient accumulation is too: in the log, a step of W processes with A microbatches each has W * A
microbatches, and the weights of their examples say how much each counted.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.optimizer import Optimizer as TorchOptimizer

from auditor.errors import UnsupportedError
from auditor.record.adapters.declaration import StageDeclaration
from auditor.record.adapters.ledger import StepLedger
from auditor.record.adapters.ranks import gather_through, open_channel, same_outcome, world_size
from auditor.record.adapters.rows import Rows
from auditor.record.datasets import DatasetHandle
from auditor.record.dropout import recorded_dropouts
from auditor.record.recorder import Recorder


@final
class StepDeclarations:
    """What a loop declares its batches to, in every process.

    Args:
        ledger: Collects the microbatches of a step.
    """

    def __init__(self, ledger: StepLedger) -> None:
        self._ledger = ledger

    def batch(self, rows: Rows | Tensor | Sequence[int]) -> None:
        """Declare the examples of this process's next backward pass by their positions."""
        self._ledger.add(rows if isinstance(rows, Rows) else Rows(torch.as_tensor(rows).tolist()))

    def batch_tensors(self, columns: Mapping[str, Tensor]) -> None:
        """Declare the examples of this process's next backward pass by what the model saw."""
        self._ledger.add(columns)


@contextmanager
def record_distributed(
    recorder: Recorder | None,
    model: nn.Module,
    declared: StageDeclaration,
    *,
    optimizer: TorchOptimizer,
    dataset: DatasetHandle | None = None,
) -> Iterator[StepDeclarations]:
    """Record a stage inside the ``with`` block, in one process or in each of several.

    Every process enters the block, declares its own batches and takes the same number of steps.

    Args:
        recorder: In rank 0; None in the other processes.
        model: The plain model, without DistributedDataParallel.
        declared: The stage; its accumulation is that of one process.
        optimizer: Its ``step()`` is what is recorded.
        dataset: What positions refer to, in rank 0; None when tensors are declared.

    Yields:
        What the loop declares its batches to.

    Raises:
        UnsupportedError: If batch norms use the batches of one process each.
        StageLogError: If rank 0 refused the stage; in every process.
    """
    processes = world_size()
    if processes > 1:
        require_batch_independence(model)
        require_no_masks(model)
    channel = open_channel()
    ledger = StepLedger(
        accumulation=declared.accumulation, gather=gather_through(channel), dataset=dataset
    )
    stage = replace(declared, accumulation=declared.accumulation * processes)
    with ExitStack() as opened:
        opened.callback(ledger.listen(optimizer))
        with same_outcome(channel, stage=declared.name):
            if recorder is not None:
                ledger.stage = opened.enter_context(stage.open(recorder, optimizer))
        yield StepDeclarations(ledger)
        with same_outcome(channel, stage=declared.name):
            opened.pop_all().close()


def require_no_masks(model: nn.Module) -> None:
    """Refuse recorded dropout: the places of a process's rows in the step are not known to it.

    Raises:
        UnsupportedError: Naming the first.
    """
    active = [n for n, m in recorded_dropouts(model).items() if m.training and m.rate > 0]
    if active:
        raise UnsupportedError(
            f"model: {active[0]}",
            expected="no dropout in data-parallel training",
            found="recorded dropout",
            remedy="Set the rates to 0, or train this stage in one process.",
        )


def require_batch_independence(model: nn.Module) -> None:
    """Refuse batch norms in train mode: each process would use the statistics of its own part.

    Raises:
        UnsupportedError: Naming the first.
    """
    norms = [n for n, m in model.named_modules() if isinstance(m, _BatchNorm) and m.training]
    if norms:
        raise UnsupportedError(
            f"model: {norms[0]}",
            expected="no batch norm in train mode in data-parallel training",
            found=type(model.get_submodule(norms[0])).__name__,
            remedy="Freeze its statistics with eval(), use group or layer norm, or train this "
            "stage in one process.",
        )
