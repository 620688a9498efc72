"""Two-stage trainings in plain torch, with what training loops do besides steps, and their logs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from auditor.dynamics.run import Run
from auditor.record.recorder import Recorder
from auditor.stagelog.digest import digest_of
from auditor.stagelog.log import Loss
from tests.support.builders import FixedClock, MemorySink, export_once, make_network
from tests.support.memory_blobs import MemoryBlobs

VOCABULARY = 7
TOKENS = 6
IGNORED = -100
STEPS = 5

EmaFrom = Literal["stage_start", "first_step"]

LossOf = Callable[[nn.Module, nn.Module, dict[str, Tensor]], Tensor]
"""(model, copy of it at the stage's start, a microbatch's columns) -> mean loss."""


class Bigram(nn.Module):
    """A language model whose next token depends on the last one."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, 4)
        self.hidden = nn.Linear(4, 5)
        self.head = nn.Linear(5, VOCABULARY)

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits [..., V] of ids [...]."""
        logits: Tensor = self.head(torch.tanh(self.hidden(self.embed(ids))))
        return logits


def bigram(*, dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(0)
    return Bigram().to(dtype)


def texts(seed: int, *, shape: tuple[int, ...]) -> dict[str, Tensor]:
    """Return ids and labels [*shape, T]; labels of unequal lengths, the rest ignored."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(VOCABULARY, (*shape, TOKENS), generator=generator)
    length = torch.randint(2, TOKENS + 1, (*shape, 1), generator=generator)
    kept = torch.arange(TOKENS) < length
    return {"ids": ids, "labels": torch.where(kept, ids, IGNORED)}


def vectors(seed: int, *, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Return x [24, 4] and classes y [24], of which some are ignored."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(3, (24,), generator=generator)
    x = torch.randn(24, 4, generator=generator, dtype=torch.float64).to(dtype)
    return {"x": x, "y": torch.where(torch.rand(24, generator=generator) < 0.2, IGNORED, y)}


@dataclass(frozen=True, kw_only=True)
class FactsCase:
    """A training in two stages.

    Attributes:
        network: Makes the model.
        columns: Makes a stage's dataset.
        loss: What a stage log calls it.
        loss_of: The same in plain torch.
        inputs: Graph input and its column.
        target: Column.
        microbatches: Sizes of a step's microbatches.
        clip: What happens to the gradients.
        optimizer: Makes the optimizer.
        declared: Further arguments of ``Recorder.stage``.
        steps: Of each stage.
        blobs: Where the log goes.
        ema: Decay of a moving average, and from when; the model becomes it at each stage's end.
        release: Whether it does.
    """

    network: Callable[[], nn.Module]
    columns: Callable[[int], dict[str, Tensor]]
    loss: Loss | str
    loss_of: LossOf
    inputs: str
    target: str
    microbatches: tuple[int, ...] = (6,)
    clip: Callable[[Sequence[Tensor]], object] = lambda parameters: None
    optimizer: Callable[[Sequence[Tensor]], torch.optim.Optimizer] = lambda p: torch.optim.AdamW(
        p, lr=2e-2, weight_decay=0.1
    )
    declared: dict[str, Any] = field(default_factory=dict)
    steps: int = STEPS
    blobs: MemoryBlobs = field(default_factory=MemoryBlobs)
    ema: tuple[float, EmaFrom] | None = None
    release: bool = True


def trained(
    case: FactsCase, *, skip: frozenset[int] = frozenset(), reference: nn.Module | None = None
) -> tuple[list[dict[str, Tensor]], Run]:
    """Train in plain torch and return the parameters at every boundary, and the recorded run.

    Args:
        case: What is trained.
        skip: Stages whose steps are left out; they are not recorded either.
        reference: What preferences are compared with; by default the model at the stage's start.
    """
    model = case.network()
    sink = MemorySink(blobs=case.blobs, manifests=[])
    recorder = Recorder(sink, model, run_name="facts", export=export_once, clock=FixedClock())
    boundaries = [_copy(model)]
    for stage_index in range(2):
        columns = case.columns(stage_index)
        optimizer = case.optimizer(list(model.parameters()))
        start = case.network()
        start.load_state_dict(model.state_dict())
        data = recorder.dataset(f"data{stage_index}", columns)
        if stage_index in skip:
            boundaries.append(_copy(model))
            continue
        average = _average(case, model)
        declared: dict[str, Any] = {} if case.ema is None else {
            "ema": average, "ema_decay": case.ema[0], "ema_from": case.ema[1]
        }  # fmt: skip
        with recorder.stage(
            f"stage{stage_index}",
            optimizer=optimizer,
            loss=case.loss,
            inputs={case.inputs: case.inputs},
            target=case.target,
            self_check="off",
            cadence_steps=2,
            **case.declared,
            **declared,
        ) as stage:
            generator = torch.Generator().manual_seed(stage_index)
            for _ in range(case.steps):
                size = sum(case.microbatches)
                order = torch.randperm(24, generator=generator)[:size]
                parts = list(order.split(list(case.microbatches)))
                optimizer.zero_grad()
                for part in parts:
                    stage.batch(data, part)
                _backward(case, model, reference or start, columns, parts)
                case.clip(list(model.parameters()))
                optimizer.step()
                average.update_parameters(model)
            if case.ema is not None and case.release:
                model.load_state_dict(average.module.state_dict())
        boundaries.append(_copy(model))
    log = recorder.log
    return boundaries, Run(log, digest_of(log), sink.blobs)


def _backward(
    case: FactsCase,
    model: nn.Module,
    reference: nn.Module,
    columns: dict[str, Tensor],
    parts: Sequence[Tensor],
) -> None:
    whole = torch.cat(list(parts))
    if case.declared.get("accumulated") == "step":
        # One mean over all of the step, as if it were computed at once.
        rows = {name: values[whole] for name, values in columns.items()}
        case.loss_of(model, reference, rows).backward()  # type: ignore[no-untyped-call]
        return
    for part in parts:
        rows = {name: values[part] for name, values in columns.items()}
        loss = case.loss_of(model, reference, rows) / len(parts)
        loss.backward()  # type: ignore[no-untyped-call]


def _average(case: FactsCase, model: nn.Module) -> AveragedModel:
    """Return torch's own moving average; it copies at its first update."""
    decay, first = case.ema or (0.5, "stage_start")
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
    if first == "stage_start":
        average.update_parameters(model)  # now it holds the parameters at the start
    return average


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def small_classifier(*, dtype: torch.dtype = torch.float64) -> nn.Module:
    return make_network(dtype=dtype, seed=3)
