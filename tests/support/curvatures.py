"""Objectives of imported modules, and samples of examples for their curvature."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from auditor.curvature.eigen import EigenCurvature
from auditor.curvature.ekfac import ekfac
from auditor.curvature.sample import CurvatureSample, output_directions
from auditor.model.layout import ParameterLayout
from auditor.model.objective import GraphObjective, Minibatch
from auditor.stagelog.log import Bindings, Loss
from tests.support.models import import_module, named_buffers, named_parameters

CROSS_ENTROPY = Loss(kind="cross_entropy")


@dataclass(frozen=True)
class Imported:
    """A module's objective and one minibatch of it, all float64."""

    objective: GraphObjective
    theta: Tensor
    buffers: Mapping[str, Tensor]
    batch: Minibatch
    outputs: tuple[int, ...]

    @property
    def layout(self) -> ParameterLayout:
        return self.objective.layout

    def ekfac(self, *, trainable: frozenset[str] | None = None) -> EigenCurvature:
        """Return the EK-FAC of the minibatch's loss."""
        batch = self.batch
        return ekfac(
            self.objective,
            self.theta,
            self.buffers,
            sample=CurvatureSample(
                inputs=batch.inputs,
                target=batch.target,
                factors=batch.weights / batch.denominator,
                directions=output_directions(self.outputs, like=self.theta, draw=no_draw),
            ),
            trainable=frozenset(self.layout.names) if trainable is None else trainable,
        )


def imported(
    module: nn.Module, inputs: Tensor, target: Tensor, *, loss: Loss = CROSS_ENTROPY
) -> Imported:
    """Export a module in evaluation mode, import it again and bind its loss."""
    module = module.eval()
    model = import_module(module, inputs)
    parameters = named_parameters(module)
    names = tuple(model.params)
    layout = ParameterLayout(names, tuple(model.params[name].shape for name in names))
    objective = GraphObjective(
        model,
        bindings=Bindings(inputs={model.inputs[0].name: "input"}, target="label"),
        loss=loss,
        layout=layout,
        mode="eval",
    )
    examples = len(inputs)
    return Imported(
        objective=objective,
        theta=layout.flatten(parameters),
        buffers=named_buffers(module),
        batch=Minibatch(
            inputs=(inputs,),
            target=target,
            weights=torch.ones(examples, dtype=torch.float64),
            denominator=torch.tensor(float(examples), dtype=torch.float64),
        ),
        outputs=tuple(module(inputs).shape),
    )


def no_draw(_shape: tuple[int, ...]) -> Tensor:
    """Fail: few outputs need no random directions."""
    raise AssertionError
