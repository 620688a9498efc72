"""What a stage computes: its loss for training, its outputs for queries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from torch import Tensor

from auditor.model.graph_loss import require_loss_graph
from auditor.model.objective import GraphObjective, Objective, TrainingForward, forward_mode
from auditor.model.onnx_model import OnnxModel
from auditor.stagelog.log import Stage

if TYPE_CHECKING:
    from auditor.dynamics.run import Run

Forward = Callable[[Tensor, Mapping[str, Tensor], tuple[Tensor, ...]], tuple[Tensor, ...]]
"""(theta [P], buffers, graph inputs) -> the graph's outputs, in evaluation mode."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Computations:
    """A stage's model as pure functions of theta in the stage's layout.

    Attributes:
        objective: Mean loss of a minibatch, as trained.
        forward: Outputs, as evaluated.
        inputs: Names of the graph's inputs, in its order.
    """

    objective: Objective
    forward: Forward
    inputs: tuple[str, ...]


ModelOf = Callable[["Run", int], Computations]


def graph_computations(run: Run, stage: int) -> Computations:
    """Return the computations of a stage's recorded ONNX graph, bindings and loss."""
    own, layout = run.log.stages[stage], run.layout(stage)
    graph = run.log.graphs[own.graph]
    alive = run.alive[stage + 1]
    where = f"graphs[{own.graph}]"
    names = {name: info for name, info in run.log.parameters.items() if name in alive}
    model = run.prepared.keep(
        ("graph", graph.onnx, frozenset(names.items())),
        lambda: OnnxModel.load(run.read(graph.onnx, where=where), names=names),
    )

    def forward(
        theta: Tensor, buffers: Mapping[str, Tensor], inputs: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        shapes = tuple(tuple(tensor.shape) for tensor in inputs)
        plan = model.specialise(shapes, mode="eval", device=theta.device)
        return plan(layout.unflatten(theta), buffers, *inputs).values

    # A sum that is divided by a recorded number has no reduction of its own.
    recorded = own.loss_denominator == "recorded"
    return Computations(
        objective=GraphObjective(
            model,
            bindings=own.bindings,
            loss=own.loss.model_copy(update={"reduction": "sum"}) if recorded else own.loss,
            layout=layout,
            mode=forward_mode(graph),
            forward=TrainingForward(
                precision=own.precision,
                running=frozenset(graph.running_norms or ()),
                masked=own.masked,
            ),
            loss_model=_loss_model(run, own),
        ),
        forward=forward,
        inputs=tuple(value.name for value in model.inputs),
    )


def _loss_model(run: Run, stage: Stage) -> OnnxModel | None:
    digest = stage.loss.graph
    if digest is None:
        return None
    where = f"stages[{stage.name}].loss.graph"

    def make() -> OnnxModel:
        model = OnnxModel.load(run.read(digest, where=where), names={})
        require_loss_graph(model, where=where)
        return model

    return run.prepared.keep(("loss graph", digest), make)
