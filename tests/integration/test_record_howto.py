"""The page on recording a run: its code runs as it stands there."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from auditor.edge.folder import read_log
from tests.support.guides import blocks

PAGE = "docs/howto/record.md"


def test_page_runs_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    record, dropout, evaluation = (text for _, text in blocks(PAGE, "python"))
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.0), nn.Linear(8, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    names: dict[str, Any] = {
        "Path": Path, "cross_entropy": cross_entropy, "model": model, "optimizer": optimizer,
        "x": torch.randn(24, 4), "y": torch.arange(24) % 3, "sources": ["a", "b"] * 12,
        "ids": [str(number) for number in range(24)], "sampler": torch.split(torch.arange(24), 8),
        "scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1),
    }  # fmt: skip

    for text in (record, evaluation):
        exec(text, names)  # noqa: S102 - a page of this repository

    stage = read_log(tmp_path / "my-log")[0].stages[0]
    assert (stage.steps, stage.stochastic.dropout) == (3, "none")
    assert len(str(names["digest"])) == 64

    names["model"] = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.Linear(8, 3))
    names["optimizer"] = torch.optim.SGD(names["model"].parameters(), lr=0.1)
    for text in (dropout, record[record.index("reviews =") :]):
        exec(text, names)  # noqa: S102 - a page of this repository

    stage = read_log(tmp_path / "dropout-log")[0].stages[0]
    assert (stage.steps, stage.stochastic.dropout) == (3, "seeded")
