"""An imported model: a checked graph with its parameters by name, and plans by shape."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import final

import torch

from auditor.errors import InputError, ShapeError
from auditor.model.graph_state import require_state
from auditor.model.limits import DEFAULT_LIMITS, ImportLimits
from auditor.model.onnx_description import GraphDescription, Mode
from auditor.model.onnx_graph import check_graph
from auditor.model.outside import outside_transforms
from auditor.model.plan import Plan
from auditor.model.specialise import Specialiser
from auditor.stagelog.log import ParameterInfo


@final
class OnnxModel:
    """A graph whose parameters and buffers are those of a stage log, one to one.

    Args:
        params: Parameters by name; every one is consumed by the graph.
        buffers: Buffers by name; the graph need not read all of them.
        inputs: Data inputs, in the graph's order.
        outputs: In the graph's order.
    """

    def __init__(
        self,
        description: GraphDescription,
        *,
        names: Mapping[str, ParameterInfo],
        limits: ImportLimits = DEFAULT_LIMITS,
    ) -> None:
        self._description = description
        self._limits = limits
        self._plans: OrderedDict[object, Plan] = OrderedDict()
        require_state(description, names)
        canonical = {name: info.tied_to or name for name, info in names.items()}
        state = [value for value in description.inputs if value.name in names]
        self._parameters: dict[str, str] = {}
        self._buffers: dict[str, str] = {}
        for value in state:
            name = canonical[value.name]
            kind = names[name].kind if name in names else names[value.name].kind
            (self._parameters if kind == "parameter" else self._buffers)[value.name] = name
        self.inputs = tuple(value for value in description.inputs if value.name not in names)
        self.outputs = description.outputs
        own = {name: info for name, info in names.items() if canonical[name] == name}
        self.params = {name: info for name, info in own.items() if info.kind == "parameter"}
        self.buffers = {name: info for name, info in own.items() if info.kind == "buffer"}

    @classmethod
    def load(
        cls,
        blob: bytes | bytearray | memoryview,
        *,
        names: Mapping[str, ParameterInfo],
        limits: ImportLimits = DEFAULT_LIMITS,
    ) -> "OnnxModel":
        """Return the model of an ONNX file without weights.

        Args:
            blob: The file; its graph takes parameters and buffers as inputs, by name.
            names: State of the model: parameters and buffers that exist where it is used.
            limits: Bounds on the file and on what is computed from it.

        Raises:
            InputError: If the file is malformed, or a name is not in both graph and state.
            ShapeError: If a parameter has another shape or dtype in the graph.
            UnsupportedError: If the graph uses what this release does not treat.
            ResourceError: If a limit is exceeded.
        """
        return cls(check_graph(blob, limits=limits), names=names, limits=limits)

    def specialise(
        self,
        shapes: tuple[tuple[int, ...], ...],
        *,
        mode: Mode,
        device: torch.device | str = "cpu",
        running: frozenset[str] = frozenset(),
    ) -> Plan:
        """Return the forward computation for data inputs of these shapes; plans are kept.

        May be called inside a transform: the work is done outside of it.

        Args:
            shapes: Of the data inputs, in the graph's order.
            mode: ``train`` if batch normalisation uses the batch's statistics.
            device: Where the parameters and inputs will be.
            running: Running means, by name, of batch norms that do not use the batch's statistics.

        Raises:
            ShapeError: If the shapes do not fit the graph's inputs.
            InputError: If an operator cannot work with them.
            UnsupportedError: If a shape depends on data, or an operator's option is not treated.
            ResourceError: If a value would exceed the limits.
        """
        key = (shapes, mode, str(device), running)
        plan = self._plans.get(key)
        if plan is not None:
            self._plans.move_to_end(key)
            return plan
        self._require_shapes(shapes)
        with outside_transforms():
            plan = Specialiser(
                self._description,
                parameters=self._parameters,
                buffers=self._buffers,
                mode=mode,
                running=running,
                limits=self._limits,
            ).plan(shapes, device=torch.device(device))
        while len(self._plans) >= self._limits.plans:
            self._plans.popitem(last=False)
        self._plans[key] = plan
        return plan

    def _require_shapes(self, shapes: tuple[tuple[int, ...], ...]) -> None:
        if len(shapes) != len(self.inputs):
            raise InputError(
                "graph inputs",
                expected=f"{len(self.inputs)} of them: "
                + ", ".join(value.name for value in self.inputs),
                found=len(shapes),
                remedy="Bind a column to every input of the graph.",
            )
        for value, shape in zip(self.inputs, shapes, strict=True):
            if len(shape) != len(value.shape) or any(
                isinstance(axis, int) and axis != size
                for axis, size in zip(value.shape, shape, strict=False)
            ):
                raise ShapeError(
                    f"graph input {value.name!r}",
                    expected=f"shape {value.shape}",
                    found=f"shape {shape}",
                    remedy="Bind a column of this shape, or export with a dynamic batch axis.",
                )
