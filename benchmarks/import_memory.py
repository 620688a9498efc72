"""Peak memory of an imported model's forward pass, beside its parameters and activations.

Run by ``benchmarks.import_model`` in a process of its own, whose resident set nobody else has
grown: ``python -m benchmarks.import_memory GRAPH``.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from auditor.model.onnx_model import OnnxModel
from auditor.record.export import export_graph
from auditor.record.snapshot import describe_state

WIDTH, DEPTH, ROWS = 2048, 8, 2048


def wide() -> nn.Module:
    """Return a deep MLP of equal layers."""
    return nn.Sequential(
        *(part for _ in range(DEPTH) for part in (nn.Linear(WIDTH, WIDTH), nn.Tanh()))
    )


def memory() -> dict[str, Any]:
    """Return how far a fresh process grows when it imports and calls the model."""
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "graph.onnx"
        module = wide().eval()
        graph.write_bytes(export_graph(module, (torch.zeros(4, WIDTH),), input_names=["x"]))
        del module
        child = subprocess.run(
            [sys.executable, "-m", "benchmarks.import_memory", str(graph)],
            check=True,
            capture_output=True,
            text=True,
        )
    return dict(json.loads(child.stdout.splitlines()[-1]))


def measure(graph: Path) -> dict[str, Any]:
    """Import a graph, call it, and say how far the peak of the resident set rose."""
    with torch.device("meta"):
        names = describe_state(wide())
    warm = torch.randn(2, 8)
    torch.addmm(warm, warm, torch.randn(8, 8))  # the thread pool and the library of products
    OnnxModel.load(graph.read_bytes(), names=names).specialise(((2, WIDTH),), mode="eval")
    before = peak_bytes()
    params = {name: torch.full(info.shape, 0.01) for name, info in names.items()}
    inputs = torch.ones(ROWS, WIDTH)
    plan = OnnxModel.load(graph.read_bytes(), names=names).specialise(((ROWS, WIDTH),), mode="eval")
    with torch.no_grad():
        plan(params, {}, inputs)
    grown = peak_bytes() - before
    parameters = sum(tensor.nbytes for tensor in params.values())
    activations = 3 * inputs.nbytes  # the input, and operand and result of a layer
    return {
        "parameter_bytes": parameters,
        "activation_bytes": activations,
        "grown_bytes": grown,
        "ratio": round(grown / (parameters + activations), 3),
    }


def peak_bytes() -> int:
    """Return the largest resident set that this process has had.

    Not ``getrusage``: its maximum is inherited from the parent.
    """
    (line,) = (
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM:")
    )
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))))
