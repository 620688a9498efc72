"""What each step of a stage did: its hyperparameters, its examples, and which tensors it moved."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import final

import numpy as np
from torch.optim.optimizer import Optimizer as TorchOptimizer

from auditor.errors import StageLogError
from auditor.record.optimizers import group_hyperparameters
from auditor.stagelog.batches import Batches, BatchRow
from auditor.stagelog.log import Loss
from auditor.stagelog.optimizer_columns import COLUMNS_OF
from auditor.stagelog.reduction import divides_by_targets
from auditor.stagelog.schedule import Schedule


def weighs_microbatches(loss: Loss, accumulated: str | None) -> bool:
    """Say whether examples of unequal microbatches get unequal weights.

    Where a mean is divided by the weights of targets, these are counted when the log is read.
    """
    joined = loss.reduction == "mean" and accumulated != "step"
    return joined and not divides_by_targets(loss)


@final
@dataclass(kw_only=True)
class StepTable:
    """Rows of the schedule and the batches of one stage, one step after the other.

    Attributes:
        stage: Name of the stage, for messages.
        first_step: Global number of its first step.
        kind: Kind of the optimizer.
        names: Owner's name of every parameter of the model, by ``id``.
        accumulation: Microbatches of a step, as declared.
        mean: Whether a step's loss is the mean of those of its microbatches, each over its own
            examples: see :func:`weighs_microbatches`.
        skipped: Steps before which a step was skipped.
        denominators: What each step's sum of losses is divided by, where that was declared.
        scales: What a gradient scaler multiplied each step's loss by.
    """

    stage: str
    first_step: int
    kind: str
    names: Mapping[int, str]
    accumulation: int
    mean: bool
    groups: tuple[tuple[str, ...], ...] = ()
    rows: list[tuple[BatchRow, ...]] = field(default_factory=list)
    numbers: list[list[dict[str, float]]] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)
    denominators: list[float | None] = field(default_factory=list)
    scales: list[float | None] = field(default_factory=list)
    _pending: list[BatchRow] = field(default_factory=list)
    _denominator: float | None = None
    _moved: list[list[bool]] = field(default_factory=list)

    @property
    def next_step(self) -> int:
        """Global number of the step that is being prepared."""
        return self.first_step + len(self.rows)

    @property
    def where(self) -> str:
        """That step in messages."""
        return f"stage {self.stage!r}, step {self.next_step}"

    @property
    def recorded_denominators(self) -> bool:
        """Whether steps have denominators of their own."""
        return any(value is not None for value in self.denominators)

    @property
    def recorded_scales(self) -> bool:
        """Whether a gradient scaler took the steps."""
        return any(value is not None for value in self.scales)

    @property
    def pending(self) -> bool:
        """Whether examples are declared that no step has used."""
        return bool(self._pending)

    def declare(self, row: BatchRow, *, microbatch: int | None) -> None:
        """Note examples of the next step.

        Raises:
            StageLogError: If the step has more microbatches than declared, or a dataset appears
                twice in one microbatch: most likely a batch whose step was skipped.
        """
        if microbatch is None:
            microbatch = 0 if self.accumulation == 1 else len(self._pending)
        if not 0 <= microbatch < self.accumulation:
            raise StageLogError(
                self.where,
                expected=f"at most accumulation={self.accumulation} microbatches before a step",
                found=f"microbatch {microbatch}",
                remedy="Declare accumulation=... in run.stage, and only batches that were used.",
            )
        if any((r.microbatch, r.dataset) == (microbatch, row.dataset) for r in self._pending):
            raise StageLogError(
                self.where,
                expected="optimizer.step() after each declared batch",
                found=f"a second batch of {row.dataset!r} before the step",
                remedy="Pass scaler=... to recorder.stage where a gradient scaler skips steps; for "
                "gradient accumulation declare accumulation=... in recorder.stage.",
            )
        self._pending.append(
            row if row.microbatch == microbatch else replace(row, microbatch=microbatch)
        )

    def declare_denominator(self, value: float) -> None:
        """Note what the next step's sum of losses is divided by.

        Raises:
            StageLogError: If it is no positive number.
        """
        if not 0 < value < np.inf:
            raise StageLogError(
                self.where,
                expected="a denominator above 0",
                found=value,
                remedy="Pass the number that the step's sum of losses is divided by.",
            )
        self._denominator = float(value)

    def skip(self) -> None:
        """Forget the declared batch, whose step a gradient scaler refused.

        Raises:
            StageLogError: If no batch was declared.
        """
        if not self._pending:
            raise StageLogError(
                self.where,
                expected="a declared batch whose step was skipped",
                found="none",
                remedy="Call stage.skip_step() after stage.batch(...), in place of the step.",
            )
        self._pending, self._denominator = [], None
        self.skipped.append(self.next_step)

    def begin_step(self, optimizer: TorchOptimizer, *, scale: float | None = None) -> None:
        """Note the numbers and parameters that ``optimizer.step()`` is about to use.

        Args:
            optimizer: Whose step it is.
            scale: What a gradient scaler multiplied the loss by.

        Raises:
            StageLogError: If no batch was declared or other parameters are trained than before.
        """
        if not self._pending:
            raise StageLogError(
                self.where,
                expected="a declared batch before optimizer.step()",
                found="none",
                remedy="Call stage.batch(dataset, indices) or stage.batch_tensors(...) first.",
            )
        self._note_moved(optimizer)
        self.numbers.append([
            group_hyperparameters(self.kind, group) for group in optimizer.param_groups
        ])
        self.rows.append(tuple(self._weighted(self._pending)))
        self.denominators.append(self._denominator)
        self.scales.append(scale)
        self._pending, self._denominator = [], None

    def require_complete(self) -> None:
        """Refuse a stage without steps or with a batch that no step used.

        Raises:
            StageLogError: In either case.
        """
        if self._pending:
            raise StageLogError(
                self.where,
                expected="optimizer.step() after the declared batch",
                found="the end of the stage",
                remedy="Declare a batch only when its step is executed.",
            )
        if self.recorded_denominators and None in self.denominators:
            raise StageLogError(
                f"stage {self.stage!r}, step {self.first_step + self.denominators.index(None)}",
                expected="a denominator for every step of the stage, or for none",
                found="none",
                remedy="Call stage.denominator(...) before every step.",
            )
        if not self.rows:
            raise StageLogError(
                f"stage {self.stage!r}",
                expected="at least one step",
                found="none",
                remedy="Pass the optimizer whose step() trains this stage.",
            )

    def schedule(self) -> Schedule:
        """Return the hyperparameters of the groups that were trained, [steps, groups] each."""
        used = [position for position, names in enumerate(self.groups) if names]
        columns = {
            name: np.array([[step[g][name] for g in used] for step in self.numbers])
            for name in COLUMNS_OF[self.kind]
        }
        if self.recorded_denominators:
            own = np.array(self.denominators, dtype=np.float64)
            columns["denominator"] = np.repeat(own[:, None], len(used), axis=1)
        if self.recorded_scales:
            scales = np.array(self.scales, dtype=np.float64)
            columns["loss_scale"] = np.repeat(scales[:, None], len(used), axis=1)
        return Schedule(first_step=self.first_step, columns=columns)

    def batches(self) -> Batches:
        """Return the examples of every step."""
        return Batches(self.rows, first_step=self.first_step)

    def trained_groups(self) -> tuple[tuple[str, ...], ...]:
        """Return the parameters of each group that were trained; groups without any left out."""
        return tuple(names for names in self.groups if names)

    def trained_numbers(self, position: int) -> list[dict[str, float]]:
        """Return the hyperparameters of a recorded step, of the groups that were trained."""
        groups = zip(self.numbers[position], self.groups, strict=True)
        return [numbers for numbers, names in groups if names]

    def _note_moved(self, optimizer: TorchOptimizer) -> None:
        """The optimizer moves the parameters that have a gradient; the others are frozen."""
        moved = [[p.grad is not None for p in g["params"]] for g in optimizer.param_groups]
        if not self.rows:
            self._moved = moved
            self.groups = tuple(
                self._names_of(group["params"], flags)
                for group, flags in zip(optimizer.param_groups, moved, strict=True)
            )
        elif moved != self._moved:
            raise StageLogError(
                self.where,
                expected="gradients for the same parameters at every step of a stage",
                found=f"{sum(map(sum, moved))} parameters with a gradient, "
                f"{sum(map(sum, self._moved))} at the first step",
                remedy="Start a new stage when parameters are frozen or unfrozen.",
            )

    def _names_of(self, parameters: Sequence[object], moved: Sequence[bool]) -> tuple[str, ...]:
        names = []
        for parameter, used in zip(parameters, moved, strict=True):
            name = self.names.get(id(parameter))
            if name is None and used:
                raise StageLogError(
                    self.where,
                    expected="an optimizer of the recorded model's parameters",
                    found="a parameter that is not the model's",
                    remedy="Pass the model that is trained to Recorder, without wrappers.",
                )
            if name is not None and used:
                names.append(name)
        return tuple(names)

    def _weighted(self, rows: Sequence[BatchRow]) -> Sequence[BatchRow]:
        """Scale weights where a mean over microbatches is not the mean over their examples.

        Training divides the sum of the A microbatch means by A, a log the sum over all n examples
        by n: an example of a microbatch of n_m counts n / (A n_m), which is 1 for equal sizes.
        """
        if not self.mean or self.accumulation == 1:
            return rows
        sizes: dict[int, int] = {}
        for row in rows:
            sizes[row.microbatch] = sizes.get(row.microbatch, 0) + len(row.indices)
        total = sum(sizes.values())
        if all(size * self.accumulation == total for size in sizes.values()):
            return rows
        return [
            replace(
                row,
                weights=(np.ones(len(row.indices)) if row.weights is None else row.weights)
                * (total / (self.accumulation * sizes[row.microbatch])),
            )
            for row in rows
        ]
