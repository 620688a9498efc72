"""Steps, rates and optimizers that a trainer noted; what is not known is said."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from auditor.errors import InputError
from auditor.record.exported_model import ExportedModel
from auditor.record.optimizer_file import NamedOptimizer, named_optimizer
from auditor.record.snapshot import describe_state
from auditor.record.trainer_state import read_trainer_state
from auditor.record.training_facts import stage_schedule, training_facts


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))


def model() -> ExportedModel:
    module = net()
    return ExportedModel(
        architecture="Net",
        inputs=("x",),
        parameters=describe_state(module),
        order=tuple(name for name, _ in module.named_parameters()),
        graph="0" * 64,
        deviation=0.0,
    )


def stepped(make: Any) -> tuple[torch.optim.Optimizer, dict[str, Any]]:
    """Return an optimizer after a step, and its state as it comes back from a file."""
    module = net()
    optimizer = make(module)
    module(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    content = optimizer.state_dict()
    state = {str(number): part for number, part in content["state"].items()}
    return optimizer, {"state": state, "param_groups": content["param_groups"]}


def decayed(module: nn.Module) -> list[dict[str, Any]]:
    """Group parameters as the Hugging Face Trainer does."""
    two = [p for p in module.parameters() if p.dim() > 1]
    one = [p for p in module.parameters() if p.dim() == 1]
    return [{"params": two, "weight_decay": 0.1}, {"params": one, "weight_decay": 0.0}]


def named(content: object) -> NamedOptimizer | str:
    return named_optimizer(content, order=model().order, infos=model().parameters)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda m: torch.optim.AdamW(m.parameters()), "adamw"),
        (lambda m: torch.optim.Adam(m.parameters()), "adam"),
        (lambda m: torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9), "sgd"),
        (lambda m: torch.optim.AdamW(decayed(m), lr=0.1), "adamw"),
    ],
    ids=["adamw", "adam", "sgd", "grouped"],
)
def test_a_saved_optimizer_gets_the_models_names(make: Any, kind: str) -> None:
    optimizer, content = stepped(make)

    found = named(content)

    assert isinstance(found, NamedOptimizer)
    assert found.arithmetic.kind == kind
    assert [len(group) for group in found.groups] == [
        len(group["params"]) for group in optimizer.param_groups
    ]
    infos = model().parameters
    for name, group in zip(found.groups, optimizer.param_groups, strict=True):
        for own, parameter in zip(name, group["params"], strict=True):
            assert infos[own].shape == tuple(parameter.shape)
            slot = "momentum_buffer" if kind == "sgd" else "exp_avg"
            assert found.slots[f"{slot}/{own}"].equal(optimizer.state[parameter][slot])
    assert found.numbers[0]["lr"] == optimizer.param_groups[0]["lr"]


def renumbered(content: dict[str, Any]) -> dict[str, Any]:
    return {**content, "param_groups": [{**content["param_groups"][0], "params": [0, 1]}]}


@pytest.mark.parametrize(
    "content",
    [
        None,
        {"state": {}},
        {"state": [], "param_groups": []},
        {"state": {}, "param_groups": [{"lr": 0.1, "params": [0]}]},
        renumbered(stepped(lambda m: torch.optim.AdamW(m.parameters()))[1]),
    ],
)
def test_an_optimizer_without_names_is_left_out_and_said(content: object) -> None:
    assert isinstance(named(content), str)


def write_state(folder: Path, entries: list[dict[str, float]], *, step: int = 6) -> None:
    folder.mkdir(exist_ok=True)
    plain = {"global_step": step, "log_history": entries}
    (folder / "trainer_state.json").write_text(json.dumps(plain))


def test_rates_between_logged_steps_are_interpolated_and_said(tmp_path: Path) -> None:
    write_state(tmp_path, [{"step": 2, "learning_rate": 0.2}, {"step": 6, "learning_rate": 0.0}])

    found = read_trainer_state(tmp_path)

    assert found is not None
    rates = found.rate_per_step(0, 6)
    assert rates is not None
    np.testing.assert_allclose(rates, [0.2, 0.2, 0.15, 0.1, 0.05, 0.0], atol=1e-12)
    assert not found.logged_every(0, 6)
    assert found.rate_per_step(2, 5) is None


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        '{"global_step": "six"}',
        '{"global_step": 0}',
        '{"global_step": 1000000000000000}',
        '{"global_step": 6, "log_history": {}}',
        '{"global_step": 6, "log_history": [{"learning_rate": -1, "step": 2}]}',
        '{"global_step": 6, "log_history": [{"learning_rate": 0.1}]}',
    ],
)
def test_damaged_notes_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "trainer_state.json").write_text(content)

    with pytest.raises(InputError, match="trainer_state"):
        read_trainer_state(tmp_path)


def test_facts_are_taken_from_the_step_folder_with_the_same_weights(tmp_path: Path) -> None:
    _, content = stepped(lambda m: torch.optim.AdamW(decayed(m), lr=0.1))
    logged = [{"step": step, "learning_rate": 0.1 * step} for step in range(1, 7)]
    for folder, weights in ((tmp_path, b"b"), (tmp_path / "checkpoint-3", b"a"),
                            (tmp_path / "checkpoint-6", b"b")):  # fmt: skip
        folder.mkdir(exist_ok=True)
        (folder / "model.safetensors").write_bytes(weights)
    write_state(tmp_path / "checkpoint-3", logged[:3], step=3)
    write_state(tmp_path / "checkpoint-6", logged)
    torch.save(content, tmp_path / "checkpoint-6" / "optimizer.pt")

    facts = training_facts(tmp_path, model(), read_pickle=lambda _: content)
    schedule = stage_schedule(facts, first=0, steps=6, begins_at=10)

    assert facts.folder == tmp_path / "checkpoint-6"
    assert facts.gaps == ()
    assert schedule is not None
    assert (schedule.first_step, schedule.groups) == (10, 2)
    np.testing.assert_allclose(schedule.columns["lr"][:, 1], 0.1 * np.arange(1, 7))
    np.testing.assert_allclose(schedule.columns["weight_decay"][0], [0.1, 0.0])


def test_what_is_not_there_is_a_gap(tmp_path: Path) -> None:
    def never(path: Path) -> object:
        raise AssertionError(path)

    nothing = training_facts(tmp_path, model(), read_pickle=never)
    write_state(tmp_path, [])
    no_rates = training_facts(tmp_path, model(), read_pickle=never)
    write_state(tmp_path, [{"step": 6, "learning_rate": 0.1}])
    no_optimizer = training_facts(tmp_path, model(), read_pickle=never)
    (tmp_path / "optimizer.pt").touch()
    unknown = training_facts(tmp_path, model(), read_pickle=lambda _: {"state": 1})

    texts = [facts.gaps[0] for facts in (nothing, no_rates, no_optimizer, unknown)]
    assert [text.split(":")[0] for text in texts] == [
        "no trainer_state.json", "learning rates", "no optimizer.pt", "optimizer.pt is left out",
    ]  # fmt: skip
    assert stage_schedule(unknown, first=0, steps=6, begins_at=0) is None
