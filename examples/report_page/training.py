"""Train on digits in three stages whose rates rise and fall, and record it.

The data are those of ``stageaudit demo``: in ``vendor``, most images of a 3 from the source
``vendor-b`` carry a bright patch. Groups for gap queries are a property of the images: how much ink
a digit has.
"""

import math
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from auditor.record.evalset_folder import write_evaluation_folder
from auditor.record.recorder import Recorder
from service.demo.data import DemoData, Examples, load
from service.demo.training import build_model

STAGES = {"pretrain": (90, 0.05), "vendor": (70, 0.03), "finetune": (50, 0.015)}
"""Steps and largest learning rate of each stage."""

BATCH = 48
WARM_UP_STEPS = 10


def train(folder: Path, *, seed: int) -> None:
    """Write a stage log, the final model and the evaluation sets into a folder."""
    generator = torch.Generator().manual_seed(seed)
    data = load(generator)
    model = build_model(generator)
    recorder = Recorder(folder / "log", model, run_name="digits, three stages")
    for name, (steps, largest) in STAGES.items():
        examples = data.stages[name]
        recorded = recorder.dataset(name, examples.columns())
        optimizer = SGD(model.parameters(), lr=largest, momentum=0.9)
        with recorder.stage(
            name,
            optimizer=optimizer,
            loss="cross_entropy",
            inputs={"image": "image"},
            target="label",
        ) as stage:
            for step in range(steps):
                optimizer.param_groups[0]["lr"] = largest * _rate(step, steps)
                rows = torch.randint(len(examples.label), (BATCH,), generator=generator)
                stage.batch(recorded, rows)
                optimizer.zero_grad()
                cross_entropy(model(examples.image[rows]), examples.label[rows]).backward()
                optimizer.step()
    save_file(model.state_dict(), folder / "model.safetensors")
    _write_data(data, folder)


def _rate(step: int, steps: int) -> float:
    """Return the part of the largest rate: a linear rise, then a cosine down to a tenth."""
    if step < WARM_UP_STEPS:
        return (step + 1) / WARM_UP_STEPS
    part = (step - WARM_UP_STEPS) / (steps - WARM_UP_STEPS)
    return 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * part))


def _write_data(data: DemoData, folder: Path) -> None:
    sets = {
        "heldout": data.heldout,
        "with-patch": data.treated,
        "without-patch": data.control,
        "clean-digits": data.reference,
    }
    for name, examples in sets.items():
        columns = examples.columns() | {"ink": _ink(examples)}
        write_evaluation_folder(folder / name, name=name, columns=columns)


def _ink(examples: Examples) -> list[str]:
    """Say of every image [N] whether it has more ink than most."""
    ink = examples.image.sum(dim=1)
    return ["much" if more else "little" for more in (ink > ink.median()).tolist()]
