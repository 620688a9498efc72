"""Peak memory of an exact replay beside what a plain eager training step holds.

Usage: python -m benchmarks.replay_memory [--quick] [--json F]

Bytes of tensors that are alive, counted operation by operation: they depend on shapes only, so
that this is the same on every machine. ``eager`` is parameters, optimizer state, gradients, and
the activations that a plain loop holds when its forward pass ends. ``advance`` is the most bytes
that carrying states through the recorded stage holds at once, for one lane and for eight, as the
CPU runs them (one after the other where one fills it); ``vectorised`` is the traced step of eight
lanes in one ``vmap``, as a device with room runs it. Each is divided by ``eager`` times the lanes.
``first`` is ``advance`` of one lane in a process that has not traced the step
yet. The data, and the block of examples that is gathered for the next steps, at most 16 MiB for a
group, are counted apart.

One vector of the size of the parameters comes on top of what eager holds: the gradient is put
together, and the update has an intermediate result. Without any activations that is 4/3 for SGD
with momentum and 5/4 for Adam. ``ratio_by_products`` is the same over an eager step whose attention
runs as matrix products, as that of an imported graph does: torch's fused attention never holds the
probabilities of all pairs of tokens. The bound, 1.3, is on that of ``first`` and ``advance``.
"""

import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim import SGD, AdamW, Optimizer

from auditor.dynamics.minibatches import BlockExamples, Lane, StageBatches
from auditor.dynamics.run import Run
from auditor.dynamics.state import TrainingState, form_of, stack
from auditor.dynamics.stepping import StepKind, step_arguments, step_function
from auditor.dynamics.trajectory import advance
from auditor.model.traced import trace
from benchmarks.live_bytes import LiveBytes
from benchmarks.measuring import machine_facts, publish, read_options
from benchmarks.workloads import CLASSES, Workload, record, seeded, workloads

BOUND = 1.3
LANES = 8
STEPS = 64
"""Enough that steps are traced, as in any replay that is worth it."""


def wide_mlp() -> nn.Module:
    """Return a network whose parameters outweigh its activations: 1.6 million of them."""
    return nn.Sequential(
        nn.Linear(64, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 512),
        nn.ReLU(), nn.Linear(512, CLASSES),
    )  # fmt: skip


def trainings() -> Iterator[Workload]:
    """Yield the trainings of ``benchmarks.workloads`` and a wide one, by either optimizer."""

    def momentum(parameters: Iterable[nn.Parameter]) -> Optimizer:
        return SGD(parameters, lr=0.005, momentum=0.9, weight_decay=1e-4)

    def adamw(parameters: Iterable[nn.Parameter]) -> Optimizer:
        return AdamW(parameters, lr=1e-3)

    optimizers: dict[str, Callable[[Iterable[nn.Parameter]], Optimizer]] = {
        "SGD with momentum": momentum,
        "AdamW": adamw,
    }
    plain = list(workloads(steps_scale=0.0))
    wide = replace(plain[0], name="wide MLP", build=seeded(wide_mlp))
    for workload in (wide, *plain):
        for name, make in optimizers.items():
            yield replace(
                workload, name=f"{workload.name}, {name}", make_optimizer=make, steps=STEPS
            )


def eager(workload: Workload) -> dict[str, int]:
    """Return what the second step of a plain loop holds, in bytes."""
    model = workload.build()
    optimizer = workload.make_optimizer(model.parameters())
    batches = [(workload.inputs[rows], workload.labels[rows]) for rows in workload.order()[:2]]
    parameters = list(model.parameters())
    for inputs, labels in batches:
        memory = [value for own in optimizer.state.values() for value in own.values()]
        optimizer.zero_grad()
        with LiveBytes((*parameters, *memory, inputs, labels)) as live:
            before = live.now
            loss = functional.cross_entropy(model(inputs), labels)
            activations = live.now - before
            loss.backward()
            optimizer.step()
    own = sum(parameter.nbytes for parameter in parameters)
    kept = sum(value.nbytes for value in memory)
    return {
        "parameters": own,
        "optimizer": kept,
        "gradients": own,
        "activations": activations,
        "sum": own + kept + own + activations,
        "peak": live.peak,
    }


def copies(run: Run, lanes: int) -> list[TrainingState]:
    """Return a start state for each lane, in memory of its own."""
    start = run.transition(0)(run.boundary(0))
    return [start.replaced([tensor.clone() for tensor in start.tensors]) for _ in range(lanes)]


def advance_peak(run: Run, lanes: int) -> int:
    """Return the most bytes alive while lanes are carried through the stage, examples apart."""
    states = copies(run, lanes)
    data, block = tuple(run.columns("train").values()), first_block(run)
    with LiveBytes((*data, *tensors_of(block))) as examples:
        apart = examples.now
    del block
    with LiveBytes((*data, *(tensor for state in states for tensor in state.tensors))) as live:
        given = (states.pop() for _ in range(lanes))
        advance(run, 0, given, lanes=[Lane()] * lanes, on_block=lambda _done, _total: None)
    return live.peak - apart


def vectorised_peak(run: Run, lanes: int) -> int:
    """Return the most bytes alive in some traced steps of all lanes in one ``vmap``."""
    state, block = stack(copies(run, lanes)), first_block(run)
    rows = run.hyperparameters(0).step_rows[: len(block.denominator)]
    arguments = step_arguments(rows, block)
    kind = StepKind(
        form=run.hyperparameters(0).forms[0], uniform=True, gated=False, lanes=lanes, shared=True
    )
    form, tensors = form_of(state), list(state.tensors)
    del state
    function = trace(step_function(run, 0, kind=kind, like=form), (*tensors, *arguments[0]))
    with LiveBytes((rows, *tensors_of(block))) as examples:
        apart = examples.now
    with LiveBytes((rows, *tensors_of(block), *tensors)) as live:
        for of_step in arguments[:3]:
            tensors += of_step
            tensors = list(function.consume(tensors))
    return live.peak - apart


def first_block(run: Run) -> BlockExamples:
    """Return the examples of the first block of steps, which all lanes share."""
    batches = StageBatches(run, 0, lanes=[Lane()])
    return batches.block(0, batches.block_steps(0, lanes=1), lanes=[0])


def tensors_of(examples: BlockExamples) -> Sequence[Tensor]:
    """Return the tensors of a block of examples."""
    return (*examples.inputs, examples.target, examples.weights, examples.denominator)


def eager_by_products(workload: Workload) -> dict[str, int]:
    """Return what :func:`eager` does where attention is not fused."""
    with sdpa_kernel(SDPBackend.MATH):
        return eager(workload)


def measure(workload: Workload) -> dict[str, Any]:
    """Return the figures of one training."""
    plain = eager(workload)
    with tempfile.TemporaryDirectory() as folder:
        run = record(workload, Path(folder) / "log")()
        peaks = {
            "first": (advance_peak(run, 1), 1),
            "advance_1": (advance_peak(run, 1), 1),
            f"advance_{LANES}": (advance_peak(run, LANES), LANES),
            f"vectorised_{LANES}": (vectorised_peak(run, LANES), LANES),
        }
    products = eager_by_products(workload)
    return {
        "eager_bytes": plain,
        "peak_bytes_of_a_lane": {
            name: round(peak / lanes) for name, (peak, lanes) in peaks.items()
        },
        "ratio": {
            name: round(peak / lanes / plain["sum"], 3) for name, (peak, lanes) in peaks.items()
        },
        "ratio_by_products": {
            name: round(peak / lanes / products["sum"], 3) for name, (peak, lanes) in peaks.items()
        },
        "eager_ratio": round(plain["peak"] / plain["sum"], 3),
    }


def main() -> None:
    """Print the figures; exit with 1 when a ratio exceeds the bound."""
    options = read_options(__doc__)
    found = list(trainings())
    results = {
        workload.name: measure(workload) for workload in (found[:4] if options.quick else found)
    }
    largest = max(
        ratio
        for result in results.values()
        for name, ratio in result["ratio_by_products"].items()
        if not name.startswith("vectorised")
    )
    publish(
        "replay_memory",
        options=options,
        facts=machine_facts(),
        results={"bound": BOUND, "within_bound": largest <= BOUND, "workloads": results},
    )
    sys.exit(0 if largest <= BOUND else 1)


if __name__ == "__main__":
    main()
