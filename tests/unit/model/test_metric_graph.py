"""A user's metric graph: what it returns, how its error is found, and what is no metric."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from auditor.errors import InputError, QueryError, UnsupportedError
from auditor.model.metric_graph import MAX_BLOCKS, MetricGraph
from tests.support.metric_graphs import brier_graph
from tests.support.plain_metrics import jackknife_variance


def data(examples: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    output = torch.randn(examples, 3, generator=generator, dtype=torch.float64)
    return output, torch.randint(0, 3, (examples,), generator=generator)


def brier(output: Tensor, target: Tensor) -> Tensor:
    return (functional.softmax(output, dim=-1) - functional.one_hot(target, 3)).square().sum(-1)


def test_values_are_the_graphs_for_each_example() -> None:
    output, target = data(7)
    graph = MetricGraph(brier_graph(), where="query 'q'")

    assert graph.per_example
    torch.testing.assert_close(graph.values(output, target), brier(output, target))


def test_inputs_are_converted_to_what_the_graph_takes() -> None:
    output, target = data(7)
    graph = MetricGraph(brier_graph(), where="query 'q'")

    found = graph.values(output.float(), target.int())

    torch.testing.assert_close(found, brier(output.float().double(), target))


def test_one_number_has_jackknife_values() -> None:
    output, target = data(9)
    graph = MetricGraph(brier_graph(scalar=True), where="query 'q'")

    values = graph.jackknife(output, target).numpy()

    def metric(rows: Tensor) -> float:
        return brier(output[rows], target[rows]).mean().sqrt().item()

    everyone = torch.arange(9)
    without = np.array([metric(everyone[everyone != i]) for i in range(9)])
    assert not graph.per_example
    assert values.mean() == pytest.approx(metric(everyone), rel=1e-12)
    assert values.var(ddof=1) / 9 == pytest.approx(jackknife_variance(without), rel=1e-9)


def test_large_sets_are_left_out_in_blocks() -> None:
    output, target = data(3 * MAX_BLOCKS)
    graph = MetricGraph(brier_graph(scalar=True), where="query 'q'")

    values = graph.jackknife(output, target).numpy()

    losses = brier(output, target)
    # Delta method for the root of a mean: the jackknife agrees with it to first order, and blocks
    # with single examples up to the sampling error of 200 squared deviations, sqrt(2 / 200) = 0.1.
    expected = (losses.var() / len(losses) / (4 * losses.mean())).item()
    assert values.mean() == pytest.approx(losses.mean().sqrt().item(), rel=1e-12)
    assert values.var(ddof=1) / len(values) == pytest.approx(expected, rel=0.4)


def test_result_that_is_not_made_from_the_output_is_refused() -> None:
    with pytest.raises(QueryError, match="a result that depends on the model's output, 'output'"):
        MetricGraph(brier_graph(constant=True), where="query 'q'")


def test_output_of_another_shape_is_refused_by_name() -> None:
    output, target = data(7)
    graph = MetricGraph(brier_graph(classes=4), where="query 'q'")

    with pytest.raises(InputError, match="graph input 'output'"):
        graph.values(output, target)


def test_file_that_is_no_graph_is_refused() -> None:
    with pytest.raises((InputError, UnsupportedError), match="ONNX"):
        MetricGraph(b"\x00" * 40, where="query 'q'")
