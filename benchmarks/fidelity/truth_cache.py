"""Truths in a folder: exact retraining is slow and does not change when estimators do.

A truth is kept under a digest of everything it depends on: the workload's own data, orders and
initial values, the source of every module of this benchmark that its file and ``truth`` import, the
rows that the request draws, the numbers of orders and reruns, and torch's version.
"""

import ast
import hashlib
import importlib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import torch
from safetensors.numpy import load, save
from torch import Tensor

import benchmarks.fidelity.truth as truth_module
from auditor.edge.folder import write_durably
from benchmarks.fidelity.training import Feed
from benchmarks.fidelity.truth import Effects, Truth
from benchmarks.fidelity.workload import Columns, Workload

PACKAGE: Final = "benchmarks.fidelity"
SEPARATOR: Final = "\x1f"
PARTS: Final = ("exact", "single", "paired", "rerun")


def truth_key(
    workload_of: Callable[[int | None], Workload],
    module: str,
    *,
    feeds: Mapping[str, Feed],
    orders: int,
    reruns: int,
) -> str:
    """Return the digest that names a truth.

    Args:
        workload_of: The workload.
        module: Name of the module that defines it.
        feeds: What the request draws.
        orders: Other orders.
        reruns: Reruns.
    """
    workload = workload_of(None)
    digest = hashlib.sha256()
    for text in (
        workload.name, str(workload.seed), str(orders), str(reruns), torch.__version__,
        *sources_of(module, truth_module.__name__),
    ):  # fmt: skip
        digest.update(text.encode() + b"\x00")
    for name, value in workload.build().state_dict().items():
        _add(digest, name, value)
    for stage in workload.stages:
        _add_columns(digest, stage.columns)
        _add(digest, stage.name + stage.optimizer, stage.batches)
        _add(digest, "learning rates", stage.learning_rates)
    for columns in (
        workload.reference, *(query.columns for query in workload.queries),
        *(query.control for query in workload.queries if query.control is not None),
    ):  # fmt: skip
        _add_columns(digest, columns)
    for name, feed in sorted(feeds.items()):
        _add(digest, name, feed.batches)
    return digest.hexdigest()


def sources_of(*modules: str) -> list[str]:
    """Return the source of modules of this benchmark and of all that they import from it."""
    found: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = _source(name)
            waiting += [
                node.module
                for node in ast.walk(ast.parse(found[name]))
                if isinstance(node, ast.ImportFrom)
                and node.module is not None
                and node.module.startswith(PACKAGE)
            ]
    return [text for _, text in sorted(found.items())]


def stored(folder: Path, key: str) -> Truth | None:
    """Return a truth of the folder, or None."""
    try:
        arrays = load((folder / f"{key}.safetensors").read_bytes())
    except FileNotFoundError:
        return None
    names = {tuple(name.split(SEPARATOR)[:2]) for name in arrays if SEPARATOR in name}
    return Truth(
        effects={
            (query, asked): Effects(**{
                part: arrays[SEPARATOR.join((query, asked, part))] for part in PARTS
            })
            for query, asked in names
        },
        factual={name: value for name, value in arrays.items() if SEPARATOR not in name},
    )


def store(folder: Path, key: str, truth: Truth) -> None:
    """Keep a truth in the folder."""
    arrays = {name: np.ascontiguousarray(value) for name, value in truth.factual.items()}
    for names, effects in truth.effects.items():
        for part in PARTS:
            value = np.ascontiguousarray(getattr(effects, part))
            arrays[SEPARATOR.join((*names, part))] = value
    folder.mkdir(parents=True, exist_ok=True)
    write_durably(folder / f"{key}.safetensors", save(arrays), mode=0o644)


def _source(module: str) -> str:
    return inspect.getsource(importlib.import_module(module))


def _add_columns(digest: "hashlib._Hash", columns: Columns) -> None:
    for name, values in sorted(columns.items()):
        if isinstance(values, Tensor):
            _add(digest, name, values)
        else:
            digest.update(SEPARATOR.join((name, *values)).encode())


def _add(digest: "hashlib._Hash", name: str, tensor: Tensor) -> None:
    digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
    digest.update(tensor.detach().contiguous().numpy().tobytes())
