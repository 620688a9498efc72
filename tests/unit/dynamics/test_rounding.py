"""Coordinates that only rounding moves: the bias of attention keys under Adam."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from auditor.dynamics.consistency import check_segment
from auditor.dynamics.run import Run
from auditor.plan.actions import SegmentFinding
from auditor.record.recorder import Recorder
from auditor.stagelog.digest import digest_of
from tests.support.builders import FixedClock, MemorySink, RecordedRun, export_once
from tests.support.cases import quiet
from tests.support.forgery import with_checkpoint, with_columns

WIDTH = 8


class Attention(nn.Module):
    """One head: softmax makes the gradient of the keys' bias exactly zero."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, WIDTH)
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.out = nn.Linear(WIDTH, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        h = self.embed(tokens)
        scores = self.query(h) @ self.key(h).transpose(-1, -2)
        mixed: Tensor = self.out((h + scores.softmax(-1) @ self.value(h)).mean(1))
        return mixed


@cache
def recorded(dtype: torch.dtype) -> RecordedRun:
    generator = torch.Generator().manual_seed(0)
    model = Attention()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    model = model.to(dtype)
    sink = MemorySink.new()
    recorder = Recorder(sink, model, run_name="keys", export=export_once, clock=FixedClock())
    tokens = torch.randint(11, (64, 6), generator=generator)
    label = torch.randint(3, (64,), generator=generator)
    data = recorder.dataset("data", {"x": tokens, "y": label})
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    with recorder.stage(
        "train", optimizer=optimizer, loss="cross_entropy", inputs={"tokens": "x"}, target="y"
    ) as stage:
        for _ in range(20):
            rows = torch.randperm(64, generator=generator)[:16]
            stage.batch(data, rows)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(tokens[rows]), label[rows]).backward()
            optimizer.step()
    return RecordedRun(
        log=recorder.log,
        digest=digest_of(recorder.log),
        blobs=sink.blobs,
        evaluation=digest_of(recorder.log),
        model=model,
    )


def finding(run: RecordedRun) -> SegmentFinding:
    return check_segment(Run(run.log, run.digest, run.blobs), 0, on_block=quiet)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_honest_log_is_consistent_and_the_keys_bias_is_set_aside(dtype: torch.dtype) -> None:
    found = finding(recorded(dtype))

    assert found.verdict == "consistent"
    assert found.rounding_coordinates == WIDTH
    assert found.amplification < 100


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_other_coordinates_are_still_compared(dtype: torch.dtype) -> None:
    def change(tensors: dict[str, Tensor]) -> None:
        tensors["query.bias"][0] += 1e-3

    found = finding(with_checkpoint(recorded(dtype), 0, -1, change))

    assert found.verdict == "inconsistent"
    assert found.worst == "query.bias"


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_bias_beyond_what_adam_can_carry_is_inconsistent(dtype: torch.dtype) -> None:
    def change(tensors: dict[str, Tensor]) -> None:
        tensors["key.bias"][0] += 3.0  # 20 steps of 1e-2, at most 3.2 times each, both ways

    found = finding(with_checkpoint(recorded(dtype), 0, -1, change))

    assert found.verdict == "inconsistent"
    assert found.worst == "key.bias"


def test_learning_rate_is_still_compared() -> None:
    run = with_columns(
        recorded(torch.float64), 0, lambda columns: columns["lr"].__setitem__((7, 0), 1.0001e-2)
    )

    assert finding(replace(run)).verdict == "inconsistent"
