"""What training minimises, as a pure function of theta: the objective and its minibatches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, final

import torch
from torch import Tensor

from auditor.errors import InputError
from auditor.model.graph_loss import graph_loss
from auditor.model.layout import ParameterLayout
from auditor.model.losses import per_example_loss, require_known_loss
from auditor.model.onnx_description import Mode
from auditor.model.onnx_model import OnnxModel
from auditor.model.plan import Plan
from auditor.model.preferences import REFERENCE, pair_margin, pairs_as_texts, text_log_probability
from auditor.stagelog.log import Bindings, Graph, Loss
from auditor.stagelog.precision import lower_precision


@dataclass(frozen=True, kw_only=True, slots=True)
class Minibatch:
    """The examples of one step; leading axes ``...`` are lanes.

    A pytree of tensors: it passes through ``vmap``, ``grad`` and ``trace`` as an argument.

    Args:
        inputs: Graph inputs in the graph's order, each [..., B, *shape]; of a stage with recorded
            dropout last the keys of its masks, [..., B] int64.
        target: Target of the loss, [..., B, *shape].
        weights: Factor w_i of each example's loss, [..., B].
        denominator: What the weighted sum is divided by, [...].
    """

    inputs: tuple[Tensor, ...]
    target: Tensor
    weights: Tensor
    denominator: Tensor


torch.export.register_dataclass(Minibatch, serialized_type_name="auditor.model.Minibatch")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingForward:
    """How forward passes ran in training, where evaluation differs.

    Attributes:
        precision: Of the stage; under autocast they ran in the lower one.
        running: Running means of batch norms that were frozen while others normalised by the batch.
        masked: Whether the stage had recorded dropout: then the last input are keys.
    """

    precision: str = "float32"
    running: frozenset[str] = frozenset()
    masked: bool = False


AS_EVALUATED = TrainingForward()


class Objective(Protocol):
    """Mean loss of a minibatch as a pure function of the parameters, one lane."""

    @property
    def layout(self) -> ParameterLayout:
        """Where each parameter lies in theta."""

    def loss(
        self, theta: Tensor, buffers: Mapping[str, Tensor], batch: Minibatch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return ``sum_i w_i l_i / denominator``, [], and the buffers after the forward pass.

        It is :meth:`loss_of_output` of :meth:`output`. Pure and safe inside ``torch.func``
        transforms, as these are: grad, jvp, forward over reverse, vmap.

        Args:
            theta: Parameters, [P].
            buffers: Buffers by name; the result has the same names.
            batch: The examples, without lane axes.
        """

    def output(
        self, theta: Tensor, buffers: Mapping[str, Tensor], batch: Minibatch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the model's output that the loss is taken of, [B, ...], and the buffers after."""

    def loss_of_output(self, output: Tensor, batch: Minibatch) -> Tensor:
        """Return ``sum_i w_i l_i / denominator``, [], convex in the output [B, ...]."""


@final
class GraphObjective:
    """The objective of an imported graph: its loss on a bound output.

    Args:
        model: The graph.
        bindings: Which output the loss is taken of; every graph input must be bound.
        loss: Kind and options.
        layout: Names in theta; those of the model's parameters.
        mode: ``train`` if the stage normalised by batch statistics: see :func:`forward_mode`.
        forward: What else the stage's forward passes did.
        loss_model: The loss as a graph from (output, target) to a loss for each example.
    """

    def __init__(
        self,
        model: OnnxModel,
        *,
        bindings: Bindings,
        loss: Loss,
        layout: ParameterLayout,
        mode: Mode,
        forward: TrainingForward = AS_EVALUATED,
        loss_model: OnnxModel | None = None,
    ) -> None:
        if loss_model is None:
            require_known_loss(loss)
        _require_bound(model, bindings)
        _require_same_parameters(model, layout)
        self._model = model
        self._output = bindings.output
        self._loss = loss
        self._layout = layout
        self._mode: Mode = mode
        self._lower = lower_precision(forward.precision)
        self._trained = forward
        self._loss_model = loss_model

    @property
    def layout(self) -> ParameterLayout:
        """Where each parameter lies in theta."""
        return self._layout

    @property
    def mode(self) -> Mode:
        """Whether batch normalisation uses the batch's statistics."""
        return self._mode

    @property
    def loss_kind(self) -> Loss:
        """Kind and options of the loss."""
        return self._loss

    @property
    def bound_output(self) -> int:
        """Which output the loss is taken of, from 0."""
        return self._output

    def loss(
        self, theta: Tensor, buffers: Mapping[str, Tensor], batch: Minibatch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return ``sum_i w_i l_i / denominator``, [], and the buffers after the forward pass.

        Args:
            theta: Parameters, [P].
            buffers: Buffers by name.
            batch: The examples, without lane axes; the graph is specialised to its shapes once.
        """
        output, new_buffers = self.output(theta, buffers, batch)
        return self.loss_of_output(output, batch), new_buffers

    def output(
        self, theta: Tensor, buffers: Mapping[str, Tensor], batch: Minibatch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what the loss is taken of, [B, ...], and the buffers after the forward pass.

        That is the bound output; of preferences the margin of each pair, [B], against the
        reference that ``buffers`` hold beside the graph's own.
        """
        own = {name: tensor for name, tensor in buffers.items() if name != REFERENCE}
        if self._loss.kind != "dpo":
            return self._forward(theta, own, batch.inputs)
        texts = pairs_as_texts(batch.inputs, batch.target)
        logits, after = self._forward(theta, own, texts)
        before, _ = self._forward(buffers[REFERENCE], own, texts)
        model, reference = (
            text_log_probability(
                values.reshape(*batch.target.shape[:2], *values.shape[1:]),
                batch.target,
                ignore_index=self._loss.ignore_index,
            )
            for values in (logits, before)
        )
        return pair_margin(model, reference), after

    def _forward(
        self, theta: Tensor, buffers: Mapping[str, Tensor], inputs: tuple[Tensor, ...]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        plan = self.plan(inputs)
        inputs, keys = self.split(inputs)
        parameters = self._layout.unflatten(theta)
        if self._lower is None:
            outputs = plan(parameters, buffers, *inputs, keys=keys)
            return outputs.values[self._output], outputs.buffers
        # Casts are not cached: inside a transform a kept one would belong to another level.
        lower = getattr(torch, self._lower)
        with torch.autocast(theta.device.type, dtype=lower, cache_enabled=False):
            outputs = plan(parameters, buffers, *inputs, keys=keys)
        return outputs.values[self._output].to(theta.dtype), outputs.buffers

    def loss_of_output(self, output: Tensor, batch: Minibatch) -> Tensor:
        """Return ``sum_i w_i l_i / denominator``, [], of a bound output, [B, ...]."""
        if self._loss_model is None:
            losses = per_example_loss(self._loss, output, batch.target)  # [B]
        else:
            losses = graph_loss(self._loss_model, output, batch.target)
        return (batch.weights * losses).sum() / batch.denominator

    def split(self, inputs: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """Return the graph's inputs, and the keys of dropout masks where there are such."""
        return (tuple(inputs[:-1]), inputs[-1]) if self._trained.masked else (tuple(inputs), None)

    def plan(self, inputs: Sequence[Tensor]) -> Plan:
        """Return the graph specialised to the shapes of a minibatch's inputs."""
        inputs, _ = self.split(inputs)
        return self._model.specialise(
            tuple(tuple(tensor.shape) for tensor in inputs),
            mode=self._mode,
            device=inputs[0].device,
            running=self._trained.running,
        )


def forward_mode(graph: Graph) -> Mode:
    """Return the mode in which a stage's forward passes ran, as its log says."""
    return "train" if graph.batch_norm == "batch" else "eval"


def _require_bound(model: OnnxModel, bindings: Bindings) -> None:
    names = [value.name for value in model.inputs]
    if set(names) != set(bindings.inputs):
        raise InputError(
            "bindings.inputs",
            expected="a column for each of " + ", ".join(names),
            found=", ".join(bindings.inputs),
            remedy="Bind exactly the inputs of the stage's graph.",
        )
    if bindings.output >= len(model.outputs):
        raise InputError(
            "bindings.output",
            expected=f"one of {len(model.outputs)} outputs, from 0",
            found=bindings.output,
            remedy="Bind an output that the stage's graph has.",
        )


def _require_same_parameters(model: OnnxModel, layout: ParameterLayout) -> None:
    shapes = dict(zip(layout.names, layout.shapes, strict=True))
    for name in (*model.params, *layout.names):
        wanted = model.params[name].shape if name in model.params else None
        if wanted != shapes.get(name):
            raise InputError(
                f"parameters[{name}]",
                expected=f"shape {wanted} as in the graph"
                if wanted is not None
                else "no such name",
                found=shapes.get(name, "none"),
                remedy="Use the layout of the stage that the graph belongs to.",
            )
