"""Trainings in several processes on one machine, which meet at a file; rank 0 writes the log."""

import multiprocessing
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import cast

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


def token_ids(stage: int) -> Tensor:
    """Return texts of a small vocabulary, [21, 6]; an odd number, so that ranks share one."""
    return torch.randint(4, 32, (21, 6), generator=torch.Generator().manual_seed(stage))


def language_columns(stage: int) -> dict[str, Tensor]:
    """Return texts of different lengths, so that the ranks' microbatches have unequal counts."""
    ids, words = token_ids(stage), 2 + torch.arange(21) % 5
    mask = torch.arange(6) < words[:, None]
    return {"input_ids": ids, "labels": ids.where(mask, -100)}


def classifier_columns(stage: int) -> dict[str, Tensor]:
    """Return texts with a label each."""
    ids = token_ids(stage)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids[:, 0] % 2}


def train_trainer(folder: Path, rank: int, *, kind: str) -> None:
    """Train with the Hugging Face Trainer, accumulating two microbatches in each process."""
    from datasets import Dataset
    from transformers import Trainer, TrainingArguments, default_data_collator

    from auditor.record.adapters.huggingface import record_trainer
    from auditor.record.adapters.named_inputs import export_by_name
    from tests.support.hf_folders import bert, gpt2

    model = gpt2() if "language" in kind else bert()
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    made = language_columns if "language" in kind else classifier_columns
    recorder = (
        Recorder(folder / "log", model, run_name="hf", clock=FixedClock(), export=export_by_name)
        if not rank
        else None
    )
    arguments = TrainingArguments(
        output_dir=str(folder / "hf"), use_cpu=True, report_to=[], save_strategy="no", seed=5,
        logging_strategy="no", disable_tqdm=True, per_device_train_batch_size=3, optim="sgd",
        dataloader_pin_memory=False, gradient_accumulation_steps=2, num_train_epochs=2,
        learning_rate=0.1, average_tokens_across_devices="unequal" not in kind,
    )  # fmt: skip
    for stage, name in enumerate(STAGES):
        trainer = Trainer(
            model=model, args=arguments, data_collator=default_data_collator,
            train_dataset=Dataset.from_dict({n: v.tolist() for n, v in made(stage).items()}),
        )  # fmt: skip
        if stage == 0 and "skipped" in kind:
            continue
        with record_trainer(recorder, trainer, name):
            trainer.train()


def train_lightning(folder: Path, rank: int) -> None:
    """Train with Lightning's DDP strategy in processes that exist already."""
    from tests.support.lightning_library import lightning
    from tests.support.lightning_module import Classifier, columns, loader

    from auditor.record.adapters.lightning import StageCallback  # isort: skip

    os.environ["TORCHELASTIC_RUN_ID"] = "tests"  # as torchrun says that it made the processes
    module = Classifier()
    recorder = (
        Recorder(folder / "log", module.network, run_name="pl", clock=FixedClock())
        if not rank
        else None
    )
    for stage, name in enumerate(STAGES):
        data = recorder.dataset(name, columns(stage)) if recorder else None
        callback = StageCallback(recorder, module.network, declared(name), dataset=data)
        trainer = lightning.Trainer(
            accelerator="cpu", strategy="ddp", devices=2, max_epochs=2, logger=False,
            accumulate_grad_batches=1 + stage, callbacks=[callback], enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(module, loader(stage, 0))


def train(kind: str, folder: Path, rank: int, world: int) -> None:
    """Train in this process; ``rank<n>.txt`` says how it ended."""
    sys.modules.setdefault("torchvision", cast(ModuleType, None))  # as tests/conftest.py
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
    os.environ |= {"GROUP_RANK": "0", "LOCAL_WORLD_SIZE": str(world)}
    store = dist.FileStore(str(folder / "meeting"), world)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world)
    outcome = ""
    try:
        if kind == "accelerate":
            train_accelerate(folder, rank)
        elif kind == "lightning":
            train_lightning(folder, rank)
        elif kind.startswith("trainer"):
            train_trainer(folder, rank, kind=kind)
        else:
            train_ddp(folder, rank, kind=kind)
    except AuditorError as error:
        outcome = str(error)
    except BaseException as error:
        outcome = f"{type(error).__name__}: {error}"
        raise
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
        process.join(timeout=240)
        if process.exitcode is None:
            process.kill()
    return [(folder / f"rank{rank}.txt").read_text() for rank in range(world)]
