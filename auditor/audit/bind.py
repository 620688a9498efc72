"""Is this the model the log describes? An artifact's tensors against the final checkpoint."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from auditor.dynamics.evaluate import query_values_at
from auditor.dynamics.run import Run
from auditor.dynamics.state import recorded_state
from auditor.effects import Query
from auditor.errors import PreconditionError
from auditor.model.derivation import derive
from auditor.model.onnx_weights import onnx_weights
from auditor.model.tensors import read_tensors
from auditor.plan.actions import BindingFinding
from auditor.plan.derivation import (
    Cast,
    DerivationStep,
    Rename,
    SameValues,
    derivation_text,
)
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.digest import Digest

_REMEDY = (
    "Push the file that this run produced, or the log of the run that produced this file; if it "
    "was merged, cast or folded, declare `derivation`."
)
ROUNDING_UNITS = 16
"""Units in the last place, of the largest value, that merging and folding may be off by."""


def bind_model(
    run: Run,
    model: Digest,
    *,
    blobs: BlobStore,
    derivation: tuple[DerivationStep, ...] = (),
    queries: tuple[Query, ...] = (),
) -> BindingFinding:
    """Compare a model artifact with the log's final checkpoint.

    Without a derivation bit for bit. A declared derivation (adapters merged, dtype cast, batch
    norms folded, names changed) is replayed on the checkpoint; what involves arithmetic may differ
    by 16 units in the last place of the artifact's dtype. ``same_values`` compares the
    values of queries at both instead: it says nothing about inputs that no query has.

    Args:
        run: The audited run.
        model: Digest of a safetensors file, or of an ONNX file with weights.
        blobs: Where it is stored.
        derivation: What was done to the checkpoint.
        queries: What ``same_values`` compares.

    Returns:
        The finding; a mismatch does not return.

    Raises:
        PreconditionError: If a tensor is missing, added or differs, or a query's values do; names
            the first one.
        InputError: If the artifact is neither safetensors nor ONNX.
        UnsupportedError: If a derivation cannot be replayed.
    """
    log = run.log
    recorded = run.final_tensors()
    kind, tensors = read_artifact(blobs.read(model))
    text = derivation_text(derivation) or None
    if derivation and isinstance(derivation[0], SameValues) and len(derivation) == 1:
        deviation = _value_deviation(run, tensors, queries, tolerance=derivation[0].tolerance)
        return BindingFinding(
            bound=True, tensors=len(tensors), format=kind, derivation=text, deviation=deviation
        )
    tied = {n: info.tied_to for n, info in log.parameters.items() if info.tied_to is not None}
    aliases = {name: recorded[owner] for name, owner in tied.items() if owner in recorded}
    expected = derive(recorded, derivation)
    known = set(derive({**recorded, **aliases}, derivation))
    exact = all(isinstance(step, Cast | Rename) for step in derivation)
    worst = 0.0
    for name, value in expected.items():
        if name not in tensors:
            # An exporter may drop counters; nothing else.
            if not value.is_floating_point():
                continue
            if name in aliases or _stands_for(name, tensors, tied):
                continue
            raise _mismatch(name, expected=_described(value), found="nothing")
        worst = max(worst, _compare(name, value, tensors[name], exact=exact))
    surplus = sorted(set(tensors) - known)
    if surplus and kind == "safetensors":
        raise _mismatch(surplus[0], expected="no such tensor in the log", found="a tensor")
    return BindingFinding(
        bound=True,
        tensors=len(expected),
        format=kind,
        derivation=text,
        deviation=None if exact else worst,
    )


def read_artifact(
    data: memoryview,
) -> tuple[Literal["safetensors", "onnx"], dict[str, Tensor]]:
    """Return the format and the tensors of a model artifact."""
    if looks_like_safetensors(data):
        return "safetensors", read_tensors(data, where="model")
    arrays = onnx_weights(bytes(data))
    return "onnx", {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}


def looks_like_safetensors(data: memoryview) -> bool:
    """Say whether the bytes begin like a safetensors file: a length, then a JSON object."""
    return len(data) > 9 and bytes(data[8:9]) == b"{"


def _value_deviation(
    run: Run, tensors: Mapping[str, Tensor], queries: tuple[Query, ...], *, tolerance: float
) -> float:
    """Return the largest difference of a query's values between checkpoint and artifact."""
    recorded = run.final_tensors()
    for name, value in recorded.items():
        found = tensors.get(name)
        if value.is_floating_point() and (found is None or found.shape != value.shape):
            raise _mismatch(
                name,
                expected=f"shape {list(value.shape)}: same_values needs the log's names",
                found="nothing" if found is None else _described(found),
            )
    boundary = len(run.log.stages)
    state = recorded_state(
        {name: tensors.get(name, value).to(value.dtype) for name, value in recorded.items()},
        {},
        layout=run.boundary_layout(boundary),
        buffer_names=frozenset(
            name for name in recorded if run.log.parameters[name].kind == "buffer"
        ),
    )
    worst = 0.0
    for query in queries:
        values, _ = query_values_at(run, [run.boundary(boundary), state], query)
        difference = float((values[0] - values[1]).abs().max())
        if not difference <= tolerance:
            raise _mismatch(
                f"query {query.name}",
                expected=f"values within {tolerance:g} of the final checkpoint's",
                found=f"values that differ by up to {difference:.3g}",
            )
        worst = max(worst, difference)
    return worst


def _stands_for(name: str, tensors: Mapping[str, Tensor], tied: Mapping[str, str]) -> bool:
    """Say whether the artifact holds a tied tensor under another of its names."""
    return any(owner == name and alias in tensors for alias, owner in tied.items())


def _compare(name: str, expected: Tensor, found: Tensor, *, exact: bool) -> float:
    """Return the difference relative to the largest value; refuse what is too large."""
    if expected.dtype != found.dtype or expected.shape != found.shape:
        raise _mismatch(name, expected=_described(expected), found=_described(found))
    if torch.equal(expected, found):
        return 0.0
    difference = (expected.double() - found.double()).abs().max().item()
    scale = expected.double().abs().max().item() or 1.0
    if not exact and expected.is_floating_point():
        allowed = ROUNDING_UNITS * torch.finfo(expected.dtype).eps * scale
        if difference <= allowed:
            return difference / scale
    raise _mismatch(
        name,
        expected="the values of the log's final checkpoint, as it is or as declared",
        found=f"values that differ by up to {difference:.3g}",
    )


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {list(tensor.shape)}"


def _mismatch(name: str, *, expected: str, found: str) -> PreconditionError:
    return PreconditionError(
        f"model.parameters[{name}]", expected=expected, found=found, remedy=_REMEDY
    )
