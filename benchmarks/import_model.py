"""Imported models against the torch modules they were exported from: time, import, memory.

Usage: python -m benchmarks.import_model [--quick] [--json F]

``forward`` is a call of the plan relative to one of the module, both without gradients.
``gradient`` is the traced gradient of the imported graph relative to forward and backward of the
module, ``examples`` the traced per-example gradients relative to ``vmap(grad)`` over the module,
where torch can do that. Each is the median over alternating repeats; the bounds are for the median
over the families. ``import_seconds`` is the processor time to check and specialise a graph of more
than 1,000 nodes; the bound is for 1,000 of them. ``memory`` is the growth of the resident set while
a wide MLP's graph is imported, specialised and called, in a process of its own, relative to its
parameters and activations.
"""

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from auditor.model.onnx_model import OnnxModel
from auditor.model.traced import trace
from auditor.record.export import export_graph
from auditor.record.snapshot import describe_state
from benchmarks.import_families import FAMILIES, LENGTH, Family, Transformer
from benchmarks.import_memory import memory
from benchmarks.measuring import alternate, machine_facts, median_ratio, publish, read_options

BOUNDS = {"forward": 1.15, "gradient": 1.0, "examples": 1.1}
IMPORT_SECONDS, IMPORT_NODES = 2.0, 1_000
MEMORY = 1.2

Named = dict[str, Tensor]


@dataclass(frozen=True)
class Pair:
    """A module in evaluation mode, its import, a minibatch, and targets."""

    module: nn.Module
    model: OnnxModel
    params: Named
    buffers: Named
    inputs: Tensor
    target: Tensor

    def ours(self, params: Named, inputs: Tensor) -> Tensor:
        """Return the imported graph's outputs."""
        plan = self.model.specialise((tuple(inputs.shape),), mode="eval")
        return plan(params, self.buffers, inputs).values[0]

    def torchs(self, params: Named, inputs: Tensor) -> Tensor:
        """Return the module's outputs."""
        return functional_call(self.module, (params, self.buffers), (inputs,))

    def backward(self) -> None:
        """Take the module's gradient as a training loop does."""
        self.module.zero_grad()
        nn.functional.cross_entropy(self.module(self.inputs), self.target).backward()


def pair(family: Family) -> Pair:
    """Return a module and what is imported from its export."""
    torch.manual_seed(0)
    module, inputs = family.build().eval(), family.inputs()
    blob = export_graph(module, (inputs,), input_names=["x"])
    return Pair(
        module=module,
        model=OnnxModel.load(blob, names=describe_state(module)),
        params={name: p.detach().clone() for name, p in module.named_parameters()},
        buffers={name: b.detach().clone() for name, b in module.named_buffers()},
        inputs=inputs,
        target=torch.arange(len(inputs)) % 10,
    )


def loss_of(forward: Callable[[Named, Tensor], Tensor]) -> Callable[..., Tensor]:
    """Return the mean cross entropy as a function of parameters, inputs and targets."""

    def loss(params: Named, inputs: Tensor, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(forward(params, inputs), target)

    return loss


def per_example(forward: Callable[[Named, Tensor], Tensor]) -> Callable[..., Named]:
    """Return every example's gradient as a function of parameters, inputs and targets."""
    loss = loss_of(forward)

    def one(params: Named, example: Tensor, target: Tensor) -> Named:
        return grad(loss)(params, example.unsqueeze(0), target.unsqueeze(0))

    return vmap(one, in_dims=(None, 0, 0))


def measure(family: Family, *, repeats: int, calls: int) -> dict[str, Any]:
    """Return the ratios of one family."""
    own = pair(family)
    arguments = (own.params, own.inputs, own.target)
    gradient = trace(grad(loss_of(own.ours)), arguments)
    examples = trace(per_example(own.ours), arguments)
    sides: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "forward": (
            lambda: own.ours(own.params, own.inputs),
            lambda: own.module(own.inputs),
        ),
        "gradient": (lambda: gradient(*arguments), own.backward),
        "examples": (lambda: examples(*arguments), lambda: per_example(own.torchs)(*arguments)),
    }
    expected = nn.functional.cross_entropy(own.module(own.inputs), own.target)
    expected.backward()
    found = gradient(*arguments)
    figures: dict[str, Any] = {
        "difference": max(
            float((found[name] - p.grad).abs().max() / p.grad.abs().max().clamp(min=1e-6))
            for name, p in own.module.named_parameters()
            if p.grad is not None
        )
    }
    for kind, (ours, torchs) in sides.items():
        with (
            torch.set_grad_enabled(kind != "forward"),
            sdpa_kernel(
                [SDPBackend.MATH]
                if kind == "examples"
                else [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]
            ),
        ):  # torch has no per-example gradients through fused attention
            ours(), torchs()
            seconds = alternate(
                {"ours": _times(ours, calls), "torch": _times(torchs, calls)}, repeats=repeats
            )
        figures[kind] = round(median_ratio(seconds, over="ours", under="torch"), 3)
        figures[f"{kind}_ms"] = round(1e3 * min(seconds["torch"]) / calls, 3)
    return figures


def _times(work: Callable[[], object], calls: int) -> Callable[[], None]:
    def repeated() -> None:
        for _ in range(calls):
            work()

    return repeated


def large_graph() -> tuple[bytes, Any, int]:
    """Return a transformer's graph of at least 1,000 nodes, its state, and its node count."""
    from onnx import load_from_string

    module = Transformer(width=16, depth=16).eval()
    blob = export_graph(module, (torch.zeros(2, LENGTH, dtype=torch.int64),), input_names=["x"])
    return blob, describe_state(module), len(load_from_string(blob).graph.node)


def import_time(*, repeats: int) -> dict[str, Any]:
    """Return the processor time to import and specialise a large graph, and its size."""
    blob, names, nodes = large_graph()
    seconds = []
    for _ in range(repeats):
        begin = time.process_time()
        OnnxModel.load(blob, names=names).specialise(((8, LENGTH),), mode="eval")
        seconds.append(time.process_time() - begin)
    return {
        "nodes": nodes,
        "import_seconds": round(statistics.median(seconds), 3),
        "seconds_of_1000_nodes": round(statistics.median(seconds) * IMPORT_NODES / nodes, 3),
    }


def main() -> None:
    """Print the figures; exit with 1 when a bound is not kept."""
    options = read_options(__doc__)
    facts = machine_facts()
    repeats, calls = (5, 3) if options.quick else (21, 10)
    families = {
        name: measure(family, repeats=repeats, calls=calls) for name, family in FAMILIES.items()
    }
    medians = {
        kind: round(statistics.median(figures[kind] for figures in families.values()), 3)
        for kind in BOUNDS
    }
    imported, held = import_time(repeats=3 if options.quick else 7), memory()
    kept = (
        all(medians[kind] <= bound for kind, bound in BOUNDS.items())
        and imported["seconds_of_1000_nodes"] <= IMPORT_SECONDS
        and imported["nodes"] >= IMPORT_NODES
        and held["ratio"] <= MEMORY
    )
    publish(
        "import_model",
        options=options,
        facts=facts,
        results={
            "bounds": {**BOUNDS, "import_seconds": IMPORT_SECONDS, "memory": MEMORY},
            "within_bound": kept,
            "medians": medians,
            "families": families,
            "import": imported,
            "memory": held,
        },
    )
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
