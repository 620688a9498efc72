"""``stageaudit log import`` of checkpoints that no Hugging Face folder describes."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from auditor.edge.folder import read_log
from auditor.model.tensors import read_tensors
from auditor.record.evalset_folder import write_evaluation_folder
from auditor.record.exported_model import export_model
from auditor.stagelog.digest import Digest
from service.cli.main import run

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


class Net(nn.Module):
    """A classifier of four numbers, with a batch norm for its buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 6)
        self.norm = nn.BatchNorm1d(6)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.norm(self.first(x))))


class Malicious:
    """Makes a folder when it is unpickled by whoever runs what a pickle says."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self._target),)


def leave(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        run([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def states() -> list[dict[str, Tensor]]:
    """Return the state before, between and after two stages."""
    found = []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Net()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
        x, y = torch.randn(12, 4), torch.arange(12) % 3
        for _ in range(3):
            found.append({name: value.clone() for name, value in net.state_dict().items()})
            for _ in range(3):
                optimizer.zero_grad()
                nn.functional.cross_entropy(net(x), y).backward()
                optimizer.step()
    return found


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    net = Net()
    net.load_state_dict(states()[-1])
    export_model(folder, net, (torch.randn(3, 4),), input_names=["x"], task="classification")
    return folder


NAMES = ("base.safetensors", "middle.safetensors", "final.safetensors")


@pytest.fixture
def checkpoints(tmp_path: Path) -> list[Path]:
    """Three safetensors files, which need no child process."""
    for name, state in zip(NAMES, states(), strict=True):
        save_file(state, tmp_path / name)
    return [tmp_path / name for name in NAMES]


@pytest.fixture
def mixed(tmp_path: Path) -> list[Path]:
    """A state dictionary, a Lightning checkpoint and a safetensors file."""
    base, middle, final = states()
    torch.save({"model_state_dict": base, "epoch": 0}, tmp_path / "base.pt")
    lightning = {
        "state_dict": {f"net.{name}": value for name, value in middle.items()},
        "pytorch-lightning_version": "2.6.0",
        "global_step": 3,
        "hyper_parameters": {"lr": 0.5},
    }
    torch.save(lightning, tmp_path / "middle.ckpt")
    save_file(final, tmp_path / "final.safetensors")
    return [tmp_path / name for name in ("base.pt", "middle.ckpt", "final.safetensors")]


def test_boundaries_are_the_checkpoints(
    mixed: list[Path], exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert leave(
        "log", "import", *mixed, "--graph", exported, "-o", tmp_path / "log", "--json"
    ) == 0  # fmt: skip

    summary = json.loads(capsys.readouterr().out)
    log, _, blobs = read_log(tmp_path / "log")
    for index, state in enumerate(states()):
        recorded = read_tensors(
            blobs.read(Digest(log.boundary(index).parameters)), where="checkpoint"
        )
        assert recorded.keys() == state.keys()
        assert all(recorded[name].equal(value) for name, value in state.items())
    assert [stage.name for stage in log.stages] == ["middle", "final"]
    assert [stage.steps for stage in log.stages] == [3, 1]
    assert log.origin is not None
    assert summary["gaps"] == list(log.origin.gaps)
    assert "final: number of steps; it counts as 1" in summary["gaps"]
    assert leave("log", "check", tmp_path / "log") == 0


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_checkpoint_of_the_lightning_trainer_is_read(
    checkpoints: list[Path], exported: Path, tmp_path: Path
) -> None:
    from tests.support.lightning_library import lightning

    class Module(lightning.LightningModule):
        def __init__(self, rate: float = 0.5) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.net = Net()

        def training_step(self, batch: Any, _: int) -> Tensor:
            return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=self.hparams["rate"])

    rows = torch.utils.data.TensorDataset(torch.ones(8, 4), torch.arange(8) % 3)
    module = Module()
    trainer = lightning.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, torch.utils.data.DataLoader(rows, batch_size=4))
    trainer.save_checkpoint(tmp_path / "tuned.ckpt")

    assert leave(
        "log", "import", checkpoints[0], tmp_path / "tuned.ckpt", "--graph", exported,
        "-o", tmp_path / "log",
    ) == 0  # fmt: skip

    log, _, blobs = read_log(tmp_path / "log")
    found = read_tensors(blobs.read(Digest(log.boundary(1).parameters)), where="checkpoint")
    assert log.stages[0].steps == 4
    for name, value in module.net.state_dict().items():
        assert found[name].equal(value)


def test_an_imported_log_is_audited_by_what_level_0_allows(
    checkpoints: list[Path], exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    leave("log", "import", *checkpoints, "--graph", exported, "-o", log, "--json")
    x, y = torch.randn(10, 4, generator=torch.Generator().manual_seed(1)), torch.arange(10) % 3
    write_evaluation_folder(tmp_path / "data", name="held out", columns={"x": x, "label": y})
    query = ("--query", "loss", "--data", tmp_path / "data", "--better", "lower", "--json")
    capsys.readouterr()

    code = leave(
        "audit", "--local", log, "--estimator", "checkpoint_delta", "--skip", "all",
        "--model", exported / "model.safetensors", *query,
    )  # fmt: skip

    report = json.loads(capsys.readouterr().out)
    losses = []
    for state in states():
        net = Net().eval()
        net.load_state_dict(state)
        with torch.no_grad():
            losses.append(nn.functional.cross_entropy(net(x), y).item())
    values = [effect["value"] for effect in report["effects"]]
    assert code == 0
    assert values == pytest.approx([losses[1] - losses[0], losses[2] - losses[1]], abs=1e-6)
    assert report["model"]["bound"]
    assert leave("audit", "--local", log, "--skip", "all", "--estimator", "retrain", *query) == 7
    assert "level 0" in capsys.readouterr().err


def test_a_new_head_begins_at_zero_when_that_is_allowed(
    checkpoints: list[Path], exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = {name: value for name, value in states()[0].items() if "head" not in name}
    save_file(base, tmp_path / "headless.safetensors")
    given = (tmp_path / "headless.safetensors", *checkpoints[1:], "--graph", exported)

    assert leave("log", "import", *given, "-o", tmp_path / "refused") == 7
    said = " ".join(capsys.readouterr().err.split())
    assert "middle: head." in said
    assert "--added zeros" in said
    assert leave("log", "import", *given, "-o", tmp_path / "log", "--added", "zeros") == 0

    log, _, blobs = read_log(tmp_path / "log")
    transition = log.stages[0].transition
    assert transition.added == ("head.bias", "head.weight")
    assert transition.added_values is not None
    values = read_tensors(blobs.read(Digest(transition.added_values)), where="added")
    assert all(not value.any() for value in values.values())
    write_evaluation_folder(
        tmp_path / "data", name="x", columns={"x": torch.ones(4, 4), "label": torch.arange(4) % 3}
    )
    capsys.readouterr()
    assert leave(
        "audit", "--local", tmp_path / "log", "--estimator", "checkpoint_delta", "--skip", "all",
        "--query", "loss", "--data", tmp_path / "data", "--better", "lower", "--json",
    ) == 0  # fmt: skip
    effects = json.loads(capsys.readouterr().out)["effects"]
    net = Net().eval()
    net.load_state_dict(states()[1])
    with torch.no_grad():
        after = nn.functional.cross_entropy(net(torch.ones(4, 4)), torch.arange(4) % 3)
    # With a head of zeros every class is as likely as any other.
    assert effects[0]["value"] == pytest.approx(after.item() - torch.tensor(3.0).log().item())


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_adapter_is_merged_into_the_checkpoint_before_it(
    checkpoints: list[Path], exported: Path, tmp_path: Path
) -> None:
    from peft import LoraConfig, get_peft_model

    net = Net()
    net.load_state_dict(states()[1])
    adapted = get_peft_model(net, LoraConfig(r=1, target_modules=["first", "head"]))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.fill_(0.5)
    adapted.save_pretrained(tmp_path / "lora")

    assert leave(
        "log", "import", *checkpoints[:2], tmp_path / "lora", "--graph", exported,
        "-o", tmp_path / "log",
    ) == 0  # fmt: skip

    log, _, blobs = read_log(tmp_path / "log")
    found = read_tensors(blobs.read(Digest(log.boundary(2).parameters)), where="checkpoint")
    for name, value in adapted.merge_and_unload().state_dict().items():
        torch.testing.assert_close(found[name], value)
    assert (log.stages[1].name, log.stages[1].kind) == ("lora", "adapt")
    assert log.stages[1].trainable == {"first.weight", "head.weight"}
    assert set(log.stages[1].transition.frozen) == set(log.stages[0].trainable) - {
        "first.weight", "head.weight",
    }  # fmt: skip


def without(name: str) -> Any:
    return lambda state: {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("head.weight"), "final: head.weight"),
        (lambda s: {**s, "head.weight": torch.ones(5, 6)}, "a replaced head"),
        (lambda s: {**s, "head.bias": torch.ones(3).double()}, "float64"),
        (lambda s: {**s, "head.bias": torch.full((3,), float("nan"))}, "head.bias"),
        (lambda _: states()[1], "other parameters than the checkpoint before it"),
    ],
    ids=["missing", "another shape", "another dtype", "not finite", "unchanged"],
)
def test_a_checkpoint_that_does_not_fit_is_refused_by_name(
    checkpoints: list[Path],
    exported: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Any,
    said: str,
) -> None:
    save_file(change(states()[2]), checkpoints[2])

    code = leave("log", "import", *checkpoints, "--graph", exported, "-o", tmp_path / "log")

    assert code in {7, 9}
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "log" / "stagelog.json").exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "adapter_model.bin"])
def test_a_malicious_pickle_in_a_folder_is_refused_and_not_run(
    checkpoints: list[Path],
    exported: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    folder = tmp_path / "sft"
    folder.mkdir()
    torch.save({"head.weight": Malicious(tmp_path / "made")}, folder / name)
    if name.startswith("adapter"):
        (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2}')

    code = leave("log", "import", checkpoints[0], folder, "--graph", exported, "-o", tmp_path / "l")

    said = " ".join(capsys.readouterr().err.split())
    assert code == 7
    assert f"error: {name}" in said
    assert "posix.mkdir, which was not run" in said
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["base.safetensors"], "two or more"),
        (["base.safetensors", "absent.pt"], "no such path"),
        (["base.safetensors", "a=middle.safetensors", "a=final.safetensors"], "different names"),
        (["base.safetensors", "middle.safetensors"], "--graph EXPORTED"),
    ],
)
def test_arguments_that_name_no_run_are_refused(
    checkpoints: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)

    assert leave("log", "import", *arguments, "-o", "log") == 7

    assert said in " ".join(capsys.readouterr().err.split())


def test_a_log_is_not_overwritten(
    checkpoints: list[Path], exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "stagelog.json").write_text("{}")

    assert leave("log", "import", *checkpoints, "--graph", exported, "-o", tmp_path) == 7
    assert "without a log" in capsys.readouterr().err
