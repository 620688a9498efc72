"""Record a run in two stages: pre-training on one source, then fine-tuning on two others.

Run: python examples/record_run.py [FOLDER]; then: stageaudit log check FOLDER --replay
"""

import sys
from pathlib import Path

import torch
from torch import nn

from auditor.record.evalset import save_evaluation_set
from auditor.record.recorder import Recorder

STEPS = 40
BATCH = 16


def make_data(
    generator: torch.Generator, *, examples: int, shift: float
) -> dict[str, torch.Tensor]:
    """Return points in two classes whose centres lie ``shift`` apart."""
    label = torch.randint(2, (examples,), generator=generator)
    x = torch.randn(examples, 4, generator=generator) + shift * label[:, None]
    return {"x": x, "label": label}


def main(folder: Path) -> None:
    """Train, record, and write an evaluation set beside the log."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    recorder = Recorder(folder, model, run_name="example")

    web = make_data(generator, examples=256, shift=1.0)
    bought = make_data(generator, examples=128, shift=2.0)
    sources = ["vendor-a" if i % 2 else "vendor-b" for i in range(128)]
    stages = [
        ("pretrain", recorder.dataset("web", web), web, 0.05),
        ("finetune", recorder.dataset("bought", {**bought, "source": sources}), bought, 0.01),
    ]
    for name, dataset, columns, lr in stages:
        optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=STEPS)
        with recorder.stage(
            name,
            kind=name,
            optimizer=optimizer,
            loss="cross_entropy",
            inputs={"x": "x"},  # argument of model.forward -> column
            target="label",
        ) as stage:
            for _ in range(STEPS):
                rows = torch.randint(dataset.examples, (BATCH,), generator=generator)
                stage.batch(dataset, rows)  # the one line that recording adds to a loop
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(
                    model(columns["x"][rows]), columns["label"][rows]
                )
                loss.backward()
                optimizer.step()
                scheduler.step()

    held_out = make_data(generator, examples=64, shift=1.0)
    digest = save_evaluation_set(folder / "held-out", "held-out", held_out)
    print(f"log: {folder}, {recorder.log.stages[-1].end_step} steps, level {recorder.log.level}")
    print(f"evaluation set: {digest}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "example-log"))
