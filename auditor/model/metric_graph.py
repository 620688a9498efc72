"""A user's metric as an ONNX graph (output, target) -> [N] values or one number."""

from typing import final

import torch
from torch import Tensor

from auditor.errors import QueryError, ResourceError
from auditor.model.metric_form import check_metric
from auditor.model.metrics.jackknife import LeaveOneOut, block_values
from auditor.model.onnx_description import TensorType
from auditor.model.onnx_model import OnnxModel
from auditor.model.onnx_ops.call import DTYPES

MAX_BLOCKS = 200
"""A metric that is one number is evaluated once for each example left out, or each block."""

MAX_ELEMENTS = 2**28
"""Size of the outputs of all examples together that such a metric may be given."""


@final
class MetricGraph:
    """A checked metric graph.

    Args:
        blob: The ONNX file; it holds no weights, and is opened by the importer of models.
        where: The query, for messages.

    Attributes:
        per_example: Whether it returns [N] values, each about one example; else one number.

    Raises:
        QueryError: If it does not take (output, target), or its result is not made from the output.
        InputError: If it is no valid ONNX graph.
        UnsupportedError: If it uses what this release does not treat.
        ResourceError: If a limit is exceeded.
    """

    def __init__(self, blob: bytes | bytearray | memoryview, *, where: str) -> None:
        self._where = f"{where}.metric"
        description = check_metric(blob, where=self._where)
        self._model = OnnxModel(description, names={})
        self.per_example = len(description.outputs[0].shape) == 1

    def values(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the graph's result, [N] or [], in float64.

        Raises:
            QueryError: If the result has another shape.
        """
        given = [
            _as(tensor, value) for tensor, value in zip((output, target), self._inputs, strict=True)
        ]
        shapes = tuple(tuple(tensor.shape) for tensor in given)
        plan = self._model.specialise(shapes, mode="eval", device=output.device)
        found = plan({}, {}, *given).values[0]
        expected = (len(output),) if self.per_example else ()
        if tuple(found.shape) != expected:
            raise QueryError(
                self._where,
                expected=f"a result of shape {list(expected)}",
                found=f"shape {list(found.shape)}",
                remedy="Reduce over all axes but the first, or over all of them.",
            )
        return found.double()

    def jackknife(self, output: Tensor, target: Tensor) -> Tensor:
        """Return jackknife values, [N], of a metric that is one number.

        Costs N + 1 evaluations, or :data:`MAX_BLOCKS` + 1 where N is larger: then blocks of
        examples are left out.

        Raises:
            QueryError: If there are fewer than two examples.
            ResourceError: If the outputs are too large to be held together.
        """
        examples = len(output)
        if examples < 2:
            raise QueryError(
                self._where, expected="at least two examples", found=examples,
                remedy="Evaluate on more data.",
            )  # fmt: skip
        if output.numel() > MAX_ELEMENTS:
            raise ResourceError(
                self._where,
                expected=f"outputs of at most {MAX_ELEMENTS} numbers for a metric of all examples",
                found=output.numel(),
                remedy="Return one value for each example, or evaluate on fewer examples.",
            )
        blocks = min(examples, MAX_BLOCKS)
        block = torch.arange(examples, device=output.device) % blocks
        metric = self.values(output, target)
        without = torch.stack([
            self.values(output[block != index], target[block != index]) for index in range(blocks)
        ])
        if blocks == examples:
            return LeaveOneOut(metric=metric, without=without).values
        return block_values(metric, without, block=block)

    @property
    def _inputs(self) -> tuple[TensorType, ...]:
        return self._model.inputs


def _as(tensor: Tensor, value: TensorType) -> Tensor:
    return tensor.to(DTYPES[value.dtype])
