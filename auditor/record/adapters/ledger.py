"""The microbatches of a step, declared together right before the optimizer uses them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, assert_never, final

import numpy as np
from torch import Tensor
from torch.optim.optimizer import Optimizer as TorchOptimizer

from auditor.errors import StageLogError
from auditor.record.adapters.rows import Rows
from auditor.record.datasets import DatasetHandle
from auditor.record.stage import StageRecorder

Microbatch = Rows | Mapping[str, Tensor]
"""What one forward pass used: positions, or the tensors themselves."""

Averaging = Literal["declared", "found", "none"]
"""What a mean over microbatches divides by: the declared accumulation, the microbatches that a
step really has (the Hugging Face Trainer at an epoch's end), or nothing: means are added up."""

Gather = Callable[[list[Microbatch]], list[list[Microbatch]] | None]
"""From one process's microbatches to those of all, by rank; None where nothing is recorded."""


def alone(parts: list[Microbatch]) -> list[list[Microbatch]]:
    """Return the microbatches of the only process."""
    return [parts]


@final
@dataclass(kw_only=True)
class StepLedger:
    """Collects the microbatches of a step and declares them to a stage.

    Attributes:
        accumulation: Microbatches of a whole step in each process.
        averaging: What a mean over microbatches divides by.
        items: What a microbatch adds to the number that the step's summed loss is divided by;
            None where that number follows from the examples.
        gather: Brings the microbatches of all processes together.
        stage: Where they are declared; None in a process that records nothing.
        dataset: What positions refer to; None when tensors are declared.
        listening: Whether an optimizer's steps are declared now.
    """

    accumulation: int = 1
    averaging: Averaging = "declared"
    items: Callable[[Microbatch], int] | None = None
    gather: Gather = alone
    stage: StageRecorder | None = None
    dataset: DatasetHandle | None = None
    listening: bool = False
    _waiting: list[Microbatch] = field(default_factory=list)

    def add(self, microbatch: Microbatch) -> None:
        """Note what the next forward pass uses."""
        self._waiting.append(microbatch)

    def listen(self, optimizer: TorchOptimizer) -> Callable[[], None]:
        """Declare before each step of an optimizer, and return what ends it.

        Args:
            optimizer: Call this before the stage listens to it, whose hooks come after.
        """
        handle = optimizer.register_step_pre_hook(self._before_step)
        self.listening = True

        def forget() -> None:
            handle.remove()
            self.listening = False

        return forget

    def _before_step(self, *_: Any) -> None:  # noqa: ANN401 - torch passes what step() was given
        parts, self._waiting = self._waiting, []
        gathered = self.gather(parts)
        if gathered is None or self.stage is None:
            return
        factor = self._factor(found=len(parts), processes=len(gathered))
        step = [part for own in gathered for part in own]
        for position, part in enumerate(step):
            self._declare(self.stage, part, position, factor=factor)
        if self.items is not None:
            self.stage.denominator(sum(map(self.items, step)))

    def _factor(self, *, found: int, processes: int) -> float | None:
        """Return what each example counts more than in a mean over the declared microbatches."""
        match self.averaging:
            case "declared":
                return None
            case "found":
                return self.accumulation / found if found < self.accumulation else None
            case "none":
                whole = self.accumulation * processes
                return float(whole) if whole > 1 else None
            case unknown:
                assert_never(unknown)

    def _declare(
        self, stage: StageRecorder, part: Microbatch, microbatch: int, *, factor: float | None
    ) -> None:
        if not isinstance(part, Rows):
            examples = len(next(iter(part.values())))
            stage.batch_tensors(part, _repeated(factor, examples), microbatch=microbatch)
            return
        if self.dataset is None:
            raise StageLogError(
                f"stage {stage.settings.name!r}",
                expected="tensors, because the training data has no positions",
                found="positions",
                remedy="Pass the dataset that the positions refer to.",
            )
        weights = _repeated(factor, len(part.indices))
        stage.batch(self.dataset, part.indices, weights, microbatch=microbatch)


def _repeated(factor: float | None, examples: int) -> np.ndarray | None:
    return None if factor is None else np.full(examples, factor)
