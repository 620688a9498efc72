"""Trainings in several processes on one machine, which meet at a file; rank 0 writes the log."""

import multiprocessing
import os
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset

from auditor.errors import AuditorError
from auditor.record.adapters.declaration import StageDeclaration
from auditor.record.adapters.distributed import record_distributed
from auditor.record.adapters.rows import IndexedCollator, IndexedDataset, take_rows
from auditor.record.recorder import Recorder
from tests.support.builders import FixedClock, make_columns, make_network

STAGES = ("first", "second")
LENGTHS = ((5, 3), (1, 4), (4, 4))
"""Examples of the two ranks at each step."""


def columns(stage: int) -> dict[str, Tensor]:
    """Return ``x`` and ``label`` of a stage's data, float64."""
    made = make_columns(seed=stage)
    return {name: made[name] for name in ("x", "label")}


def network(kind: str) -> nn.Module:
    """Return the network, the same in every process."""
    body = make_network()
    return nn.Sequential(nn.BatchNorm1d(4).double(), body) if kind == "norm" else body


def declared(name: str, **options: object) -> StageDeclaration:
    """Return the declaration of a stage."""
    return StageDeclaration(
        name=name, loss="cross_entropy", inputs={"input": "x"}, target="label", **options
    )


def rows_of(stage: int, rank: int) -> list[Tensor]:
    """Return the positions that a rank uses at each step; no two ranks or steps share one."""
    order = torch.randperm(48, generator=torch.Generator().manual_seed(stage))
    parts = torch.split(order[: sum(map(sum, LENGTHS))], [n for pair in LENGTHS for n in pair])
    return list(parts[rank::2])


def train_ddp(folder: Path, rank: int, *, kind: str) -> None:
    """Train with DistributedDataParallel and a loop of one's own."""
    model = network(kind)
    recorder = (
        Recorder(folder / "log", model, run_name="ddp", clock=FixedClock()) if not rank else None
    )
    wrapped = DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for stage, name in enumerate(STAGES):
        own = columns(stage)
        data = recorder.dataset(name, own) if recorder else None
        with record_distributed(
            recorder, model, declared(name), optimizer=optimizer, dataset=data
        ) as steps:
            for rows in rows_of(stage, rank):
                steps.batch(rows)
                optimizer.zero_grad()
                functional.cross_entropy(wrapped(own["x"][rows]), own["label"][rows]).backward()
                optimizer.step()
                if kind == "wrong":
                    optimizer.param_groups[0]["params"][0].data.mul_(1.01)


def train_accelerate(folder: Path, rank: int) -> None:
    """Train with Accelerate, accumulating two microbatches in each process."""
    from accelerate import Accelerator

    from auditor.record.adapters.accelerate import record_accelerate

    accelerator = Accelerator(gradient_accumulation_steps=2, cpu=True)
    model = network("plain").float()
    recorder = (
        Recorder(folder / "log", model, run_name="acc", clock=FixedClock()) if not rank else None
    )
    for stage, name in enumerate(STAGES):
        own = {n: v.float() if v.is_floating_point() else v for n, v in columns(stage).items()}
        own = {n: v[:26] for n, v in own.items()}
        data = recorder.dataset(name, own) if recorder else None
        loader = DataLoader(
            IndexedDataset(TensorDataset(own["x"], own["label"])), batch_size=3, shuffle=True,
            collate_fn=IndexedCollator(), generator=torch.Generator().manual_seed(stage),
        )  # fmt: skip
        wrapped, optimizer, loader = accelerator.prepare(
            model, torch.optim.AdamW(model.parameters(), lr=0.01), loader
        )
        with record_accelerate(
            recorder,
            accelerator,
            wrapped,
            declared=declared(name),
            optimizer=optimizer,
            dataset=data,
        ) as steps:
            for batch in loader:
                with accelerator.accumulate(wrapped):
                    steps.batch(take_rows(batch))
                    x, label = batch
                    accelerator.backward(functional.cross_entropy(wrapped(x), label))
                    optimizer.step()
                    optimizer.zero_grad()


def train(kind: str, folder: Path, rank: int, world: int) -> None:
    """Train in this process; ``rank<n>.txt`` says how it ended."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
    store = dist.FileStore(str(folder / "meeting"), world)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world)
    outcome = ""
    try:
        if kind == "accelerate":
            train_accelerate(folder, rank)
        else:
            train_ddp(folder, rank, kind=kind)
    except AuditorError as error:
        outcome = str(error)
    finally:
        (folder / f"rank{rank}.txt").write_text(outcome)
        dist.destroy_process_group()


def train_together(kind: str, folder: Path, *, world: int = 2) -> list[str]:
    """Return how each process ended: what it refused, or nothing."""
    os.environ |= {"GLOO_SOCKET_IFNAME": "lo", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511"}
    # One process that has torch imported, of which the others are copies.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.ranks"])
    processes = [context.Process(target=train, args=(kind, folder, r, world)) for r in range(world)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
        if process.exitcode is None:
            process.kill()
    return [(folder / f"rank{rank}.txt").read_text() for rank in range(world)]
