"""Is a graph a metric (output, target) -> [N] values or one number? No torch."""

from auditor.errors import QueryError
from auditor.model.onnx_description import GraphDescription
from auditor.model.onnx_graph import check_graph


def check_metric(blob: bytes | bytearray | memoryview, *, where: str) -> GraphDescription:
    """Return the graph of a metric's ONNX file as plain values.

    Args:
        blob: The whole file.
        where: The field that names it, for messages.

    Raises:
        QueryError: If it does not take (output, target), or its result is not made from the output.
        InputError: If it is no valid ONNX graph.
        UnsupportedError: If it uses what this release does not treat.
        ResourceError: If a limit is exceeded.
    """
    graph = check_graph(blob)
    if len(graph.inputs) != 2 or len(graph.outputs) != 1:
        raise QueryError(
            where,
            expected="a graph of two inputs, the model's output and the target, and one result",
            found=f"{len(graph.inputs)} inputs and {len(graph.outputs)} results",
            remedy="Export a function (output, target) -> value.",
        )
    result = graph.outputs[0]
    if len(result.shape) > 1:
        raise QueryError(
            where,
            expected="a result of one value for each example, [N], or of one number, []",
            found=f"shape {list(result.shape)}",
            remedy="Reduce over all axes but the first, or over all of them.",
        )
    needed = {result.name}
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            needed.update(node.inputs)
    if graph.inputs[0].name not in needed:
        raise QueryError(
            where,
            expected=f"a result that depends on the model's output, {graph.inputs[0].name!r}",
            found="a constant",
            remedy="Take the model's output as the first input and the target as the second.",
        )
    return graph
