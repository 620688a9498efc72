"""What recording costs a training: step times with and without, and the predicted size of the log.

A small GPT and a ResNet-18 are trained twice from the same initial values on the same batches: once
inside ``recorder.stage`` (batches by index, checkpoints at boundaries), once without. The two take
turns step by step, so that what disturbs one disturbs the other, and in two rounds which of the two
models was built first changes, since where its tensors lie matters by a per cent; the overhead is
the median over steps of the difference of a pair, relative to the median step without. What happens
once a stage (export, boundary checkpoints) is reported beside it. Exits with 1 beyond a bound.

    python -m benchmarks.recorder_overhead [--quick] [--json FILE]
"""

import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, AdamW, Optimizer

from auditor.record.estimate import example_bytes
from auditor.record.recorder import Recorder
from auditor.record.stage import StageRecorder
from auditor.stagelog.size import StagePlan
from benchmarks.measuring import machine_facts, publish, read_options, seconds_of

OVERHEAD_BOUND = 0.01
SIZE_BOUND = 0.10
STEPS = 500
QUICK_STEPS = 40
WARM_UP = 10
VOCABULARY, BLOCK, WIDTH, HEADS, LAYERS = 96, 64, 128, 4, 4


class Block(nn.Module):
    """A pre-norm decoder block."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, h: Tensor) -> Tensor:
        """Return states [B, L, D]."""
        q, k, v = (
            part.unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for part in self.qkv(self.norm_1(h)).chunk(3, dim=-1)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        h = h + self.out(mixed.transpose(1, 2).flatten(2))
        return h + self.down(functional.gelu(self.up(self.norm_2(h))))


class Gpt(nn.Module):
    """Four blocks of width 128 over 64 tokens: 0.8 million parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Parameter(torch.zeros(BLOCK, WIDTH))
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCABULARY, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits [B, L, V]."""
        h = self.tokens(tokens) + self.positions
        for block in self.blocks:
            h = block(h)
        return self.head(self.norm(h))


class Residual(nn.Module):
    """A basic block of ResNet-18."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.conv_2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.norm_1, self.norm_2 = nn.BatchNorm2d(after), nn.BatchNorm2d(after)
        self.shortcut = (
            nn.Identity()
            if stride == 1 and before == after
            else nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return features [B, after, H / stride, W / stride]."""
        h = functional.relu(self.norm_1(self.conv_1(x)))
        return functional.relu(self.norm_2(self.conv_2(h)) + self.shortcut(x))


def resnet_18() -> nn.Module:
    """Return ResNet-18 for small images: 11.2 million parameters (He et al. 2016, table 1)."""
    widths = ((64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1),
              (256, 512, 2), (512, 512, 1))  # fmt: skip
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
        *(Residual(*sizes) for sizes in widths),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Case:
    """A training; ``planned`` names its optimizer for the estimate."""

    name: str
    build: Callable[[], nn.Module]
    columns: dict[str, Tensor]
    batch: int
    make_optimizer: Callable[[nn.Module], Optimizer]
    planned: str
    argument: str


def cases() -> tuple[Case, ...]:
    """Return both trainings; data are random numbers, which cost what real ones do."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(VOCABULARY, (2048, BLOCK + 1), generator=generator)
    images = torch.randn(1024, 3, 16, 16, generator=generator)
    labels = torch.randint(10, (1024,), generator=generator)
    return (
        Case(
            name="small GPT", build=Gpt, batch=8, planned="adamw", argument="tokens",
            columns={"x": tokens[:, :-1].clone(), "y": tokens[:, 1:].clone()},
            make_optimizer=lambda model: AdamW(model.parameters(), lr=3e-4),
        ),
        Case(
            name="ResNet-18", build=resnet_18, batch=8, planned="momentum", argument="input",
            columns={"x": images, "y": labels},
            make_optimizer=lambda model: SGD(model.parameters(), lr=1e-2, momentum=0.9),
        ),
    )  # fmt: skip


class Side:
    """One of two equal trainings."""

    def __init__(self, case: Case, model: nn.Module) -> None:
        self.case, self.model = case, model
        self.optimizer = case.make_optimizer(model)

    def step(self, rows: Tensor, declare: Callable[[Tensor], None]) -> None:
        """Take one step."""
        x, y = (self.case.columns[name][rows] for name in ("x", "y"))
        declare(rows)
        self.optimizer.zero_grad()
        logits: Tensor = self.model(x)
        functional.cross_entropy(logits.flatten(0, -2), y.flatten()).backward()
        self.optimizer.step()


@dataclass(frozen=True, kw_only=True)
class Round:
    """Seconds of every pair of steps, with the recorder and without, and what else was measured."""

    pairs: list[tuple[float, float]]
    once_seconds: float
    log_bytes: int
    predicted_bytes: int
    parameters: int


def measure(case: Case, *, steps: int) -> dict[str, Any]:
    """Return the figures of one training, half of its steps in each round."""
    rounds = []
    for first in ("recorded", "plain"):
        with tempfile.TemporaryDirectory() as folder:
            rounds.append(one_round(case, Path(folder), steps=steps // 2, built_first=first))
    pairs = [pair for one in rounds for pair in one.pairs]
    step = statistics.median(b for _, b in pairs)
    added = statistics.median(a - b for a, b in pairs)
    last = rounds[-1]
    return {
        "parameters": last.parameters,
        "steps": len(pairs),
        "step_milliseconds_without": round(1e3 * step, 3),
        "step_milliseconds_with": round(1e3 * statistics.median(a for a, _ in pairs), 3),
        "added_microseconds_a_step": round(1e6 * added, 1),
        "overhead": round(added / step, 5),
        "once_a_stage_seconds": round(last.once_seconds, 2),
        "log_bytes": last.log_bytes,
        "predicted_bytes": last.predicted_bytes,
        "size_error": round(last.predicted_bytes / last.log_bytes - 1, 4),
    }


def one_round(case: Case, folder: Path, *, steps: int, built_first: str) -> Round:
    """Train both sides."""
    built = [case.build(), case.build()]
    built[1].load_state_dict(built[0].state_dict())
    model, twin = built if built_first == "recorded" else reversed(built)
    recorded, plain = Side(case, model), Side(case, twin)
    generator = torch.Generator().manual_seed(1)
    recorder = Recorder(folder, model, run_name="overhead")
    row = example_bytes(case.columns)
    examples = len(case.columns["x"])
    plan = StagePlan(
        steps=steps + WARM_UP, examples_per_step=case.batch, optimizer=case.planned,
        examples=examples, example_bytes=row,
    )  # fmt: skip
    predicted = recorder.estimate([plan]).log_bytes
    data = recorder.dataset("data", dict(case.columns))
    pairs: list[tuple[float, float]] = []

    def train() -> None:
        with recorder.stage(
            "train", optimizer=recorded.optimizer, loss="cross_entropy",
            inputs={case.argument: "x"}, target="y", self_check="off",
        ) as stage:  # fmt: skip
            for position in range(steps + WARM_UP):
                rows = torch.randint(examples, (case.batch,), generator=generator)
                pairs.append(_pair(stage, rows, first_recorded=position % 2 == 0))

    def _pair(stage: StageRecorder, rows: Tensor, *, first_recorded: bool) -> tuple[float, float]:
        def with_recorder() -> float:
            return seconds_of(lambda: recorded.step(rows, lambda r: stage.batch(data, r)))

        def without() -> float:
            return seconds_of(lambda: plain.step(rows, lambda _rows: None))

        if first_recorded:
            one = with_recorder()
            return one, without()
        other = without()
        return with_recorder(), other

    whole = seconds_of(train)
    measured = pairs[WARM_UP:]
    real = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    usual = sum(b for _, b in pairs) + sum(a for a, _ in measured)
    step = statistics.median(b for _, b in measured)
    return Round(
        pairs=measured,
        once_seconds=whole - usual - WARM_UP * step,
        log_bytes=real,
        predicted_bytes=predicted,
        parameters=sum(p.numel() for p in model.parameters()),
    )


def main() -> None:
    """Print the figures; exit with 1 when a bound is not kept."""
    options = read_options(__doc__)
    torch.set_num_threads(1)  # the other core is the writer's
    facts = machine_facts()
    results = {}
    for case in cases():
        results[case.name] = measure(case, steps=QUICK_STEPS if options.quick else STEPS)
    kept = all(
        r["overhead"] <= OVERHEAD_BOUND and abs(r["size_error"]) <= SIZE_BOUND
        for r in results.values()
    )
    bounds = {"overhead_bound": OVERHEAD_BOUND, "size_bound": SIZE_BOUND, "within_bounds": kept}
    publish("recorder_overhead", options=options, facts=facts, results=results | bounds)
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
