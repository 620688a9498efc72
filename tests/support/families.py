"""Model families at test size: from a plain torch training in two stages to a recorded log.

Every family says how to build its model, what a stage's examples look like, and what happens to
the model before the second stage. The training loop is plain torch; it is used with and without a
recorder, so that the truth of a counterfactual does not come from our own step maps.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from auditor.record.evalset import write_evaluation_set
from auditor.record.recorder import Recorder
from auditor.stagelog.digest import Digest, digest_of
from auditor.stagelog.log import Loss, StageLog
from tests.support.builders import FixedClock, MemorySink, export_once
from tests.support.memory_blobs import MemoryBlobs

STAGES = ("first", "second")
STEPS = 20
BATCH = 6
EXAMPLES = 30
CLASSES = 3
VOCABULARY = 24
LENGTH = 6
Tensors = Mapping[str, Tensor]
Change = Callable[[nn.Module], None]


@dataclass(frozen=True, kw_only=True)
class Family:
    """How to train one family.

    Attributes:
        build: Makes the model, initial values included.
        columns: (generator, N) -> ``x`` and ``label`` of N examples.
        change: What happens to the model before the second stage.
        loss: The loss as the recorder knows it.
        mean_loss: The same in plain torch: (output, label) -> mean.
        adaptive: Whether to train with AdamW; else SGD with momentum.
        rate: Learning rate.
    """

    build: Callable[[], nn.Module]
    columns: Callable[[torch.Generator, int], dict[str, Tensor]]
    change: Change | None = None
    loss: str | Loss = "cross_entropy"
    mean_loss: Callable[[Tensor, Tensor], Tensor] = functional.cross_entropy
    adaptive: bool = False
    rate: float = 0.02

    def model(self) -> nn.Module:
        """Return the model in training mode, the same at every call."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return self.build().train()

    def data(self, seed: int, examples: int = EXAMPLES) -> dict[str, Tensor]:
        """Return examples."""
        return self.columns(torch.Generator().manual_seed(seed), examples)

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return the optimizer of a stage."""
        trained = [p for p in model.parameters() if p.requires_grad]
        if self.adaptive:
            return torch.optim.AdamW(trained, lr=self.rate)
        return torch.optim.SGD(trained, lr=self.rate, momentum=0.9)

    def enter(self, model: nn.Module, stage: int) -> None:
        """Change the model before a stage, with the same initial values at every call."""
        if stage == 1 and self.change is not None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(1)
                self.change(model)

    def orders(self, stage: int) -> Tensor:
        """Return the rows of every step, [steps, B]."""
        generator = torch.Generator().manual_seed(20 + stage)
        return torch.randint(0, EXAMPLES, (STEPS, BATCH), generator=generator)

    def train(
        self,
        model: nn.Module,
        stage: int,
        *,
        optimizer: torch.optim.Optimizer,
        before: Callable[[Tensor], None] = lambda _rows: None,
    ) -> None:
        """Run a stage's updates in plain torch."""
        data = self.data(stage)
        for rows in self.orders(stage):
            before(rows)
            optimizer.zero_grad()
            self.mean_loss(model(data["x"][rows]), data["label"][rows]).backward()
            optimizer.step()

    def trained_without(self, skipped: int | None) -> nn.Module:
        """Return a model trained without one stage's updates, in plain torch."""
        model = self.model()
        for stage in range(len(STAGES)):
            self.enter(model, stage)
            if stage != skipped:
                self.train(model, stage, optimizer=self.optimizer(model))
        return model.eval()

    def held_out_loss(self, model: nn.Module) -> float:
        """Return the mean loss on the evaluation set."""
        data = self.held_out()
        with torch.no_grad():
            output = model(data["x"])
            return functional.cross_entropy(output.flatten(0, -2), data["label"].flatten()).item()

    def held_out(self) -> dict[str, Tensor]:
        """Return examples to judge by; of texts every token's successor is the target."""
        data = self.data(99)
        if data["label"].dim() > 1:
            data["label"] = data["x"].roll(-1, dims=1)
        return data


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A family's log, its blobs, and an evaluation set in the same store."""

    log: StageLog
    digest: Digest
    blobs: MemoryBlobs
    evaluation: Digest
    model: nn.Module


def in_double(family: Family) -> Family:
    """Return the family in float64."""

    def columns(generator: torch.Generator, examples: int) -> dict[str, Tensor]:
        return {
            name: values.double() if values.is_floating_point() else values
            for name, values in family.columns(generator, examples).items()
        }

    return replace(family, build=lambda: family.build().double(), columns=columns)


def record(family: Family, *, cadence_steps: int | None = None) -> Recorded:
    """Train the stages in plain torch under a recorder."""
    sink, model = MemorySink.new(), family.model()
    recorder = Recorder(sink, model, run_name="family", export=export_once, clock=FixedClock())
    for stage, name in enumerate(STAGES):
        family.enter(model, stage)
        optimizer = family.optimizer(model)
        data = recorder.dataset(name, family.data(stage))
        with recorder.stage(
            name,
            optimizer=optimizer,
            loss=family.loss,
            inputs={"x": "x"},
            target="label",
            cadence_steps=cadence_steps,
        ) as recording:
            family.train(
                model,
                stage,
                optimizer=optimizer,
                before=lambda rows: recording.batch(data, rows),  # noqa: B023 - used in the loop
            )
    held_out = {**family.held_out(), "id": torch.arange(EXAMPLES)}
    evaluation = write_evaluation_set("held-out", held_out, sink.blobs)
    log = recorder.log
    return Recorded(
        log=log, digest=digest_of(log), blobs=sink.blobs, evaluation=evaluation, model=model
    )
