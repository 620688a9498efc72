"""The example's training is recorded, and its request can be asked about it."""

import shutil
from pathlib import Path

import pytest
import torch

from auditor.edge.folder import read_log
from examples.report_page.__main__ import REQUEST
from examples.report_page.training import STAGES, train
from service.cli.main import run


@pytest.mark.slow
def test_request_of_the_example_fits_its_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with torch.random.fork_rng():
        train(tmp_path, seed=0)
    shutil.copy(REQUEST, tmp_path / "request.yaml")

    with pytest.raises(SystemExit) as ended:
        run(["audit", "request.yaml", "--local", "log", "--plan"])

    assert ended.value.code == 0
    log, _, _ = read_log(tmp_path / "log")
    assert [stage.name for stage in log.stages] == list(STAGES)
