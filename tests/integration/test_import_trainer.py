"""A run of the Hugging Face Trainer is imported with its steps, rates and optimizer state."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from auditor.edge.folder import read_log
from auditor.model.tensors import read_tensors
from auditor.record.hf_model import export_hf_model
from auditor.stagelog.digest import Digest
from auditor.stagelog.schedule import read_schedule
from service.cli.main import run
from tests.support import hf_folders

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    # The trainer moves nothing to an accelerator that is not there.
    pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning"),
]
STEPS = 4


def leave(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        run([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def train(folder: Path, *, logging_steps: int) -> tuple[list[float], Any]:
    """Return the rate that each step used, and the optimizer, after a run of the real trainer."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    rates: list[float] = []

    class Rates(TrainerCallback):
        def on_pre_optimizer_step(self, *_: Any, optimizer: Any = None, **__: Any) -> None:
            rates.append(trainer.optimizer.param_groups[0]["lr"])

    generator = torch.Generator().manual_seed(3)
    rows = [
        {
            "input_ids": torch.randint(4, hf_folders.SIZE, (6,), generator=generator),
            "labels": torch.tensor(i % 2),
        }
        for i in range(8)
    ]
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=STEPS,
        per_device_train_batch_size=4,
        learning_rate=0.01,
        warmup_steps=2,
        weight_decay=0.1,
        logging_steps=logging_steps,
        save_steps=STEPS,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trainer = Trainer(
        model=hf_folders.bert(), args=arguments, train_dataset=rows, callbacks=[Rates()]
    )
    trainer.train()
    return rates, trainer


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[float], Any]:
    root = tmp_path_factory.mktemp("trainer")
    hf_folders.bert().save_pretrained(root / "base")
    rates, trainer = train(root / "run", logging_steps=1)
    return root, rates, trainer


def test_steps_rates_and_state_are_those_of_the_training(
    trained: tuple[Path, list[float], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, rates, trainer = trained
    end = root / "run" / f"checkpoint-{STEPS}"
    export_hf_model(end, tmp_path / "exported", length=8)

    code = leave(
        "log", "import", root / "base", f"sft={end}", "--graph", tmp_path / "exported",
        "-o", tmp_path / "log", "--json",
    )  # fmt: skip

    assert code == 0
    summary = json.loads(capsys.readouterr().out)
    log, _, blobs = read_log(tmp_path / "log")
    stage = log.stages[0]
    assert (summary["level"], log.level, stage.steps, stage.optimizer.kind) == (1, 1, 4, "adamw")
    assert stage.schedule is not None
    schedule = read_schedule(blobs.read(Digest(stage.schedule)), where="schedule")
    assert len(rates) == STEPS
    assert len(set(rates)) > 2
    assert schedule.columns["lr"][:, 0].tolist() == pytest.approx(rates)
    assert schedule.columns["weight_decay"][0].tolist() == [0.1, 0.0]
    names = {id(p): name for name, p in trainer.model.named_parameters()}
    groups = [[names[id(p)] for p in g["params"]] for g in trainer.optimizer.param_groups]
    assert [list(group.parameters) for group in stage.groups] == groups
    digest = log.boundary(1).optimizer
    assert digest is not None
    slots = read_tensors(blobs.read(Digest(digest)), where="optimizer")
    for parameter, state in trainer.optimizer.state.items():
        name = names[id(parameter)]
        assert slots[f"exp_avg/{name}"].equal(state["exp_avg"])
        assert slots[f"exp_avg_sq/{name}"].equal(state["exp_avg_sq"])
        assert slots[f"count/{name}"].item() == STEPS
