"""Three small trainings: what is timed as a plain eager loop and, recorded, as exact retraining."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, AdamW, Optimizer

from auditor.dynamics.run import Run
from auditor.edge.folder import read_log
from auditor.record.recorder import Recorder

CLASSES = 10
PIXELS = 8
TOKENS = 64
VOCABULARY = 17  # scikit-learn's digits have grey values 0 to 16


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A training to be recorded and repeated.

    Attributes:
        name: What results call it.
        build: Makes the model, always with the same initial values.
        make_optimizer: Makes the optimizer of its parameters.
        inputs: All examples, [N, ...].
        labels: [N].
        batch: Examples of a step.
        steps: Optimizer updates.
    """

    name: str
    build: Callable[[], nn.Module]
    make_optimizer: Callable[[Iterable[nn.Parameter]], Optimizer]
    inputs: Tensor
    labels: Tensor
    batch: int
    steps: int

    @property
    def parameters(self) -> int:
        """P."""
        return sum(parameter.numel() for parameter in self.build().parameters())

    def order(self) -> Tensor:
        """Return the examples of every step, [steps, B]."""
        generator = torch.Generator().manual_seed(1)
        needed = self.steps * self.batch
        epochs = -(-needed // len(self.labels))
        rows = [torch.randperm(len(self.labels), generator=generator) for _ in range(epochs)]
        return torch.cat(rows)[:needed].reshape(self.steps, self.batch)


class TransformerClassifier(nn.Module):
    """Two pre-norm encoder layers of width 48 over 64 grey values, mean pooling, linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, 48)
        self.positions = nn.Parameter(torch.zeros(TOKENS, 48))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                48, 4, 208, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(2)
        )
        self.head = nn.Linear(48, CLASSES)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits [B, C] of tokens [B, 64]."""
        states = self.tokens(tokens) + self.positions
        for layer in self.layers:
            states = layer(states)
        return self.head(states.mean(dim=1))


def seeded(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """Return a builder that always gives the same initial values."""

    def model() -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return build()

    return model


def digits_mlp() -> nn.Module:
    """Return a 64-64-64-10 network: 8,970 parameters."""
    return nn.Sequential(
        nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, CLASSES)
    )


def mnist_cnn() -> nn.Module:
    """Return two convolutions and two linear layers for 28 x 28 images: 39,418 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(784, 48), nn.ReLU(), nn.Linear(48, CLASSES),
    )  # fmt: skip


def workloads(*, steps_scale: float = 1.0) -> Iterator[Workload]:
    """Yield the three trainings, all on scikit-learn's digits.

    The network for MNIST sees them enlarged to 28 x 28, the transformer sees their 64 grey values
    as a text: timings depend on shapes, not on what the pictures show.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.tensor(digits.data / 16.0, dtype=torch.float32)  # [N, 64]
    labels = torch.tensor(digits.target)
    square = images.reshape(-1, 1, PIXELS, PIXELS)

    def sgd(parameters: Iterable[nn.Parameter]) -> Optimizer:
        return SGD(parameters, lr=0.005, momentum=0.9, weight_decay=1e-4)

    def adamw(parameters: Iterable[nn.Parameter]) -> Optimizer:
        return AdamW(parameters, lr=1e-3)

    def steps(count: int) -> int:
        return max(64, round(count * steps_scale))

    yield Workload(
        name="digits MLP", build=seeded(digits_mlp), make_optimizer=sgd,
        inputs=images, labels=labels, batch=64, steps=steps(1500),
    )  # fmt: skip
    yield Workload(
        name="MNIST CNN", build=seeded(mnist_cnn), make_optimizer=sgd,
        inputs=functional.interpolate(square, size=28, mode="bilinear"), labels=labels,
        batch=64, steps=steps(300),
    )  # fmt: skip
    yield Workload(
        name="small transformer", build=seeded(TransformerClassifier), make_optimizer=adamw,
        inputs=(images * 16).long(), labels=labels, batch=32, steps=steps(150),
    )  # fmt: skip


def train(
    workload: Workload, model: nn.Module, *, before_step: Callable[[Tensor], None] | None = None
) -> None:
    """Train as anybody would: a plain eager loop."""
    optimizer = workload.make_optimizer(model.parameters())
    for rows in workload.order():
        if before_step is not None:
            before_step(rows)
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(workload.inputs[rows]), workload.labels[rows])
        loss.backward()
        optimizer.step()


def record(workload: Workload, folder: Path) -> Callable[[], Run]:
    """Record one stage of the training; return what opens the recorded run afresh."""
    model = workload.build()
    recorder = Recorder(folder, model, run_name=workload.name)
    data = recorder.dataset("train", {"x": workload.inputs, "y": workload.labels})
    optimizer = workload.make_optimizer(model.parameters())
    # No self-check: the benchmarks compare all of the replayed steps with the recorded end.
    with recorder.stage(
        "train",
        optimizer=optimizer,
        loss="cross_entropy",
        inputs={"x": "x"},
        target="y",
        self_check="off",
    ) as stage:
        for rows in workload.order():
            stage.batch(data, rows)
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(workload.inputs[rows]), workload.labels[rows])
            loss.backward()
            optimizer.step()

    def opened() -> Run:
        log, digest, blobs = read_log(folder)
        return Run(log, digest, blobs, device="cpu")

    return opened
