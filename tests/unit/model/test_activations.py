"""Tests of activation sizes: by hand for a small graph, and above what a replay holds."""

from pathlib import Path

import torch
from torch import nn

from auditor.edge.folder import read_log
from auditor.model.activations import activation_bytes, example_activations
from auditor.record.export import export_graph
from auditor.stagelog.digest import Digest
from tests.support.recorded_log import CLASSES, FEATURES, write_recorded_log

FLOAT = 4


def graph(*, width: int = 8) -> bytes:
    model = nn.Sequential(nn.Linear(FEATURES, width), nn.Tanh(), nn.Linear(width, CLASSES))
    return export_graph(model.eval(), (torch.zeros(5, FEATURES),), input_names=["image"])


def test_every_result_of_an_example_counts_whatever_the_batch_was() -> None:
    found = activation_bytes(graph(), {"image": (1, FEATURES)})

    assert found == FLOAT * (8 + 8 + CLASSES)


def test_a_wider_network_holds_more() -> None:
    narrow, wide = (activation_bytes(graph(width=w), {"image": (1, FEATURES)}) for w in (8, 80))

    assert wide - narrow == FLOAT * 2 * 72


def test_a_log_says_what_its_graphs_hold(tmp_path: Path) -> None:
    write_recorded_log(tmp_path / "log")
    log, _, blobs = read_log(tmp_path / "log")

    found = example_activations(log, lambda digest: blobs.read(Digest(digest)))

    assert set(found) == set(log.graphs)
    assert set(found.values()) == {FLOAT * (8 + 8 + CLASSES)}
