"""A small real log and its evaluation data, recorded as a user would."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from auditor.record.evalset_folder import write_evaluation_folder
from auditor.record.recorder import Recorder

EXAMPLES = 48
FEATURES = 6
CLASSES = 3
STEPS = 12


def make_columns(seed: int) -> dict[str, torch.Tensor | list[str]]:
    """Return examples of three well separated classes; every third comes from a vendor."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(EXAMPLES) % CLASSES
    image = torch.randn(EXAMPLES, FEATURES, generator=generator)
    image[torch.arange(EXAMPLES), label] += 2.0
    source = ["vendor" if row % 3 == 0 else "own" for row in range(EXAMPLES)]
    return {"image": image, "label": label, "source": source, "id": torch.arange(EXAMPLES)}


def write_recorded_log(
    folder: Path,
    *,
    stages: tuple[str, ...] = ("base", "tune"),
    rates: Mapping[str, float] = MappingProxyType({}),
) -> nn.Module:
    """Train a small network in stages of :data:`STEPS` steps and record it; return the network.

    ``rates`` are learning rates of stages that have another one than 0.05.
    """
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(FEATURES, 8), nn.Tanh(), nn.Linear(8, CLASSES))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-0.4, 0.4, generator=generator)
    recorder = Recorder(folder, model, run_name="small run")
    for number, name in enumerate(stages):
        columns = make_columns(number)
        image, label = columns["image"], columns["label"]
        data = recorder.dataset(name, columns)
        optimizer = torch.optim.SGD(model.parameters(), lr=rates.get(name, 0.05), momentum=0.9)
        with recorder.stage(
            name,
            optimizer=optimizer,
            loss="cross_entropy",
            inputs={"image": "image"},
            target="label",
        ) as stage:
            for batch in torch.randint(0, EXAMPLES, (STEPS, 8), generator=generator):
                stage.batch(data, batch)
                optimizer.zero_grad()
                cross_entropy(model(image[batch]), label[batch]).backward()
                optimizer.step()
    return model


def write_recorded_data(folder: Path, *, seed: int = 100) -> None:
    """Write an evaluation set that fits the log."""
    write_evaluation_folder(folder, name=folder.name, columns=make_columns(seed))
