"""The guides to recording with libraries, their code run as written."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from auditor.edge.folder import BLOBS_FOLDER, FolderBlobs, read_log
from auditor.stagelog.digest import sha256
from tests.integration.test_record_huggingface import make_trainer, still, texts, tokens
from tests.integration.test_record_lightning import Classifier
from tests.integration.test_record_lightning import columns as pairs
from tests.support.adapter_runs import replay_verdicts
from tests.support.builders import make_network, make_stage_log
from tests.support.guides import run_python_of
from tests.support.hf_folders import bert
from tests.support.lightning_library import lightning

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*num_workers.*"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:wandb.*"),
    pytest.mark.filterwarnings("ignore::FutureWarning:mlflow.*"),
]


def verdicts(folder: Path) -> list[str]:
    log, _, _ = read_log(folder)
    return replay_verdicts(log, FolderBlobs(folder / BLOBS_FOLDER))


def test_hugging_face_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = still(bert()), texts(0).remove_columns("text")

    class Stream(torch.utils.data.IterableDataset):  # type: ignore[type-arg]
        def __iter__(self) -> Any:
            return iter(data)

    run_python_of(
        "docs/howto/record-huggingface.md", tmp_path, monkeypatch,
        model=model, trainer=make_trainer(model, data, tmp_path),
        stream_trainer=make_trainer(model, Stream(), tmp_path, max_steps=3),
        sources=["web"] * len(tokens(0)), rank=0,
    )  # fmt: skip

    assert verdicts(tmp_path / "my-log") == ["consistent", "consistent"]
    assert verdicts(tmp_path / "many-log") == ["consistent"]


def test_lightning_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = pairs(0)

    run_python_of(
        "docs/howto/record-lightning.md", tmp_path, monkeypatch,
        module=Classifier(), **own, sources=["web"] * len(own["x"]), Trainer=lightning.Trainer,
        DataLoader=DataLoader, TensorDataset=TensorDataset,
        quiet={"accelerator": "cpu", "logger": False, "enable_checkpointing": False,
               "enable_progress_bar": False, "enable_model_summary": False},
    )  # fmt: skip

    assert verdicts(tmp_path / "my-log") == ["consistent"]


def test_accelerate_and_ddp_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate import Accelerator

    own, model = pairs(0), make_network(dtype=torch.float32)

    run_python_of(
        "docs/howto/record-accelerate-ddp.md", tmp_path, monkeypatch,
        **own, model=model, wrapped=model, rank=0, my_rows=[torch.arange(8), torch.arange(8, 11)],
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1), DataLoader=DataLoader,
        TensorDataset=TensorDataset, cross_entropy=functional.cross_entropy,
        accelerator=Accelerator(cpu=True),
    )  # fmt: skip

    assert verdicts(tmp_path / "my-log") == ["consistent", "consistent"]


def test_mlflow_and_wandb_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    make_stage_log(stages=1, folder=tmp_path / "my-log")
    (tmp_path / "report.sigstore.json").write_text("{}")
    client = MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())
    run_id = client.create_run(client.create_experiment("training")).info.run_id
    settings = wandb.Settings(silent=True, console="off", x_disable_stats=True)

    with wandb.init(project="p", mode="offline", dir=str(tmp_path), settings=settings) as run:
        run_python_of(
            "docs/howto/record-mlflow-wandb.md", tmp_path, monkeypatch,
            client=client, run_id=run_id, run=run, Path=Path,
        )  # fmt: skip
        kept = run.summary["stageaudit/report"]

    assert kept == client.get_run(run_id).data.tags["stageaudit.report"] == sha256(b"{}")
