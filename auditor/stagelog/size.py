"""How large a log will be, and what recording and checking it will cost, before the training."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import final

import numpy as np

from auditor.stagelog.batches import BatchRow, write_batches
from auditor.stagelog.optimizer_columns import COLUMNS_OF
from auditor.stagelog.rules_stages import WITNESS_STEPS
from auditor.stagelog.schedule import Schedule, write_schedule

SIMULATED_INDICES = 400_000
"""Batches are written for so many indices, and extended from there."""
SLOTS_OF = {"sgd": 0, "momentum": 1, "adam": 2, "adamw": 2}
"""Optimizer tensors of the size of the parameters; ``momentum`` is sgd with it."""
HEADER_BYTES_A_TENSOR = 90
MANIFEST_BYTES_A_TENSOR = 95
MANIFEST_BYTES_A_STAGE = 1_400
GRAPH_BYTES_A_TENSOR = 500
SECONDS_A_STEP = 1e-4
"""Of the recorder itself, at most."""
STATES_IN_MEMORY = 5
"""Copies of the state at the worst moment: the last boundary, three on their way to the disk, and
the bytes of one."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class StateSize:
    """The model.

    Attributes:
        tensors: Parameters and buffers, ties once.
        state_bytes: All of them.
        trained_bytes: Those that the optimizer moves.
        trained_tensors: How many these are.
    """

    tensors: int
    state_bytes: int
    trained_bytes: int
    trained_tensors: int


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class StagePlan:
    """A stage that is going to be recorded.

    Attributes:
        steps: Optimizer steps.
        examples_per_step: Examples of each.
        optimizer: ``sgd``, ``momentum`` (sgd with it), ``adam`` or ``adamw``.
        examples: Size of the data that it draws from.
        example_bytes: Of one example, all columns; 0 if an earlier stage has the same data.
        cadence_steps: As in ``recorder.stage``.
        groups: Parameter groups of the optimizer.
    """

    steps: int
    examples_per_step: int
    optimizer: str
    examples: int
    example_bytes: int
    cadence_steps: int | None = None
    groups: int = 1


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class LogEstimate:
    """What a log will cost.

    Attributes:
        checkpoint_bytes: Of all checkpoints.
        data_bytes: Of all datasets.
        step_bytes: Of schedules and batches.
        graph_bytes: Of graphs and the manifest.
        memory_bytes: What recording needs at most beside the training.
        recording_seconds: What recording adds to the training at most.
        training_seconds: Of all steps; None without a time for a step.
        check_seconds: Of ``log check --replay``; None without a time for a step.
    """

    checkpoint_bytes: int
    data_bytes: int
    step_bytes: int
    graph_bytes: int
    memory_bytes: int
    recording_seconds: float
    training_seconds: float | None
    check_seconds: float | None

    @property
    def log_bytes(self) -> int:
        """The whole folder."""
        return self.checkpoint_bytes + self.data_bytes + self.step_bytes + self.graph_bytes


def estimate_size(
    state: StateSize,
    stages: Sequence[StagePlan],
    *,
    seconds_per_step: float | None = None,
    write_bytes_per_second: float = 2e8,
    graph_bytes: int | None = None,
) -> LogEstimate:
    """Return what a log will cost; of checkpoints and data exactly, of the rest by simulation.

    Args:
        state: The model.
        stages: The plan, in order.
        seconds_per_step: Of the training, measured.
        write_bytes_per_second: What the disk takes, hashed and synchronised.
        graph_bytes: Of the exported graph; by default a guess from the number of tensors.
    """
    checkpoints = _checkpoint_bytes(state, slots=0)  # before the first stage
    data = steps = 0
    for stage in stages:
        slots = SLOTS_OF[stage.optimizer]
        checkpoints += _checkpoints(stage) * _checkpoint_bytes(state, slots=slots)
        data += stage.examples * stage.example_bytes
        steps += _schedule_bytes(stage) + _batch_bytes(stage)
    graphs = GRAPH_BYTES_A_TENSOR * state.tensors if graph_bytes is None else graph_bytes
    manifest = MANIFEST_BYTES_A_TENSOR * state.tensors + MANIFEST_BYTES_A_STAGE * len(stages)
    total = sum(stage.steps for stage in stages)
    training = None if seconds_per_step is None else total * seconds_per_step
    largest = max((SLOTS_OF[stage.optimizer] for stage in stages), default=0)
    rows = max((s.steps * (8 * s.examples_per_step + 1_000) for s in stages), default=0)
    return LogEstimate(
        checkpoint_bytes=checkpoints,
        data_bytes=data,
        step_bytes=steps,
        graph_bytes=graphs + manifest,
        memory_bytes=STATES_IN_MEMORY * (state.state_bytes + largest * state.trained_bytes) + rows,
        recording_seconds=total * SECONDS_A_STEP
        + (checkpoints + data + steps + graphs) / write_bytes_per_second,
        training_seconds=training,
        check_seconds=None if training is None else 2 * training,
    )


def _checkpoints(stage: StagePlan) -> int:
    """Return how many a stage keeps: the boundary, the witness and those of the cadence."""
    kept = {stage.steps}
    if stage.steps > WITNESS_STEPS:
        kept.add(WITNESS_STEPS)
    if stage.cadence_steps:
        kept |= set(range(stage.cadence_steps, stage.steps, stage.cadence_steps))
    return len(kept)


def _checkpoint_bytes(state: StateSize, *, slots: int) -> int:
    moments = slots * state.trained_bytes
    tensors = state.tensors + (slots + 1 if slots else 0) * state.trained_tensors
    return state.state_bytes + moments + HEADER_BYTES_A_TENSOR * tensors


def _schedule_bytes(stage: StagePlan) -> int:
    """Return the size of a schedule whose learning rate changes at every step."""
    kind = "sgd" if stage.optimizer == "momentum" else stage.optimizer
    steps = min(stage.steps, SIMULATED_INDICES // 10)
    constant = np.full((steps, stage.groups), 0.1)
    falling = np.linspace(1e-3, 1e-5, steps)[:, None] ** 1.1 * np.ones(stage.groups)
    columns = {name: falling if name == "lr" else constant for name in COLUMNS_OF[kind]}
    return ceil(len(write_schedule(Schedule(first_step=0, columns=columns))) * stage.steps / steps)


def _batch_bytes(stage: StagePlan) -> int:
    """Return the size of batches drawn epoch by epoch, extended linearly beyond the simulated."""
    steps = min(stage.steps, max(2, SIMULATED_INDICES // stage.examples_per_step))
    generator = np.random.Generator(np.random.Philox(key=0))
    wanted = steps * stage.examples_per_step
    epochs = [generator.permutation(stage.examples) for _ in range(ceil(wanted / stage.examples))]
    drawn = np.concatenate(epochs)[:wanted].reshape(steps, -1)
    rows = [(BatchRow(dataset="dataset", indices=step),) for step in drawn]
    whole = len(write_batches(rows, first_step=0))
    if steps == stage.steps:
        return whole
    half = len(write_batches(rows[: steps // 2], first_step=0))
    return ceil(whole + (whole - half) / (steps - steps // 2) * (stage.steps - steps))
