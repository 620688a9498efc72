"""Hand out a log without all of its data: a sample, keyed hashes, or fewer columns."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256 as hasher
from typing import final

import numpy as np

from auditor.errors import InputError, StageLogError
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.dataset import Column, Coverage, Dataset, Shard
from auditor.stagelog.digest import Digest, digest_of
from auditor.stagelog.log import Origin, Stage, StageLog
from auditor.stagelog.pack import Packed, pack_tensors
from auditor.stagelog.row_hashes import HASHES, ColumnRows, hash_rows
from auditor.stagelog.safetensors_header import DTYPE_BYTES
from auditor.stagelog.tensors import DTYPES, tensor_entries, view
from auditor.stagelog.validate import STAGELOG_MINOR, validate

_CODES = {name: code for code, name in DTYPES.items() if code in DTYPE_BYTES}


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Redaction:
    """What is taken out; at least one thing.

    Attributes:
        datasets: Which datasets; all by default.
        sample: Keep so many examples, drawn uniformly without replacement.
        seed: Drives the draw.
        key: Replace examples by hashes with this key.
        drop_columns: Leave these columns out.
    """

    datasets: tuple[str, ...] | None = None
    sample: int | None = None
    seed: int = 0
    key: bytes | None = None
    drop_columns: tuple[str, ...] = ()


def redact(
    log: StageLog, redaction: Redaction, *, source: BlobStore, target: BlobStore
) -> StageLog:
    """Return the redacted log, whose blobs are then all in ``target``; ``log`` stays as it is.

    The new log names the identity of the old one. Of a sampled dataset the batches are left out
    of every stage that uses it: their positions are those of the whole. Hashes keep the order and
    the batches, so that who has the data can put it back. Text categories that no kept example has
    go too.

    Args:
        log: The log.
        redaction: What is taken out.
        source: The log's blobs.
        target: Receives the redacted log's.

    Raises:
        InputError: If nothing, an unknown dataset or column, or too many examples are named.
        StageLogError: If a column is dropped that a stage trains with.
    """
    names = _checked(log, redaction)
    datasets = dict(log.datasets)
    for name in names:
        datasets[name] = _redacted(log.datasets[name], redaction, name=name, source=source,
                                   target=target)  # fmt: skip
    sampled = {name for name in names if datasets[name].coverage.kind == "sample"}
    stages = tuple(
        stage.model_copy(update={"batches": None}) if sampled & set(stage.datasets) else stage
        for stage in log.stages
    )
    earlier = log.origin.gaps if log.origin is not None else ()
    redacted = log.model_copy(
        update={
            "minor": STAGELOG_MINOR,
            "datasets": datasets,
            "stages": stages,
            "origin": Origin(
                kind="redacted",
                log=digest_of(log),
                gaps=(*earlier, *_gaps(redaction, names=names, log=log, sampled=sampled)),
            ),
        }
    )
    validate(redacted)
    for digest in redacted.blobs():
        if not target.has(Digest(digest)):
            target.write(source.read(Digest(digest)))
    return redacted


def _checked(log: StageLog, redaction: Redaction) -> tuple[str, ...]:
    """Return the datasets to redact."""
    wanted = redaction.datasets if redaction.datasets is not None else tuple(log.datasets)
    unknown = sorted(set(wanted) - set(log.datasets))
    if unknown:
        raise InputError(
            "datasets",
            expected=f"some of {', '.join(log.datasets)}",
            found=unknown[0],
            remedy="Correct the name; `stageaudit log inspect` lists them.",
        )
    # What is held only in part already is left as it is.
    names = tuple(name for name in wanted if log.datasets[name].coverage.kind == "full")
    if (redaction.sample is None) == (redaction.key is None) and not (
        redaction.sample is None and redaction.drop_columns
    ):
        raise InputError(
            "redaction",
            expected="a sample, or hashes, or columns to drop",
            found="none of them" if redaction.sample is None else "a sample and hashes",
            remedy="Say what is to be taken out.",
        )
    for stage in log.stages:
        _require_free(stage, redaction, names=names)
    known = {column for name in names for column in log.datasets[name].columns}
    if missing := sorted(set(redaction.drop_columns) - known):
        raise InputError(
            "columns",
            expected=f"some of {', '.join(sorted(known))}",
            found=missing[0],
            remedy="Correct the name.",
        )
    return names


def _require_free(stage: Stage, redaction: Redaction, *, names: tuple[str, ...]) -> None:
    bindings = stage.bindings
    bound = {*bindings.inputs.values(), bindings.target, bindings.weight, bindings.mask}
    needed = sorted(bound & set(redaction.drop_columns))  # type: ignore[type-var]
    if needed and set(names) & set(stage.datasets):
        raise StageLogError(
            f"stage {stage.name!r}",
            expected="columns that no stage trains with",
            found=needed[0],
            remedy="Keep the column, or replace the examples by a sample or by hashes.",
        )


def _redacted(
    dataset: Dataset, redaction: Redaction, *, name: str, source: BlobStore, target: BlobStore
) -> Dataset:
    columns = {c: i for c, i in dataset.columns.items() if c not in redaction.drop_columns}
    arrays = _read(dataset, columns, source=source, name=name)
    if redaction.key is not None:
        texts: dict[str, ColumnRows] = {
            column: arrays[column]
            if info.categories is None
            else [info.categories[code] for code in arrays[column]]
            for column, info in columns.items()
        }
        hashes = pack_tensors({HASHES: Packed("U8", hash_rows(texts, key=redaction.key))})
        coverage = Coverage(kind="hashes", hashes=target.write(hashes))
        plain = {c: info.model_copy(update={"categories": None}) for c, info in columns.items()}
        return dataset.model_copy(update={"columns": plain, "shards": (), "coverage": coverage})
    if redaction.sample is None:
        return _written(dataset, columns, arrays, target=target)
    rows = _draw(dataset.examples, redaction, name=name)
    coverage = Coverage(kind="sample", of=dataset.examples, seed=redaction.seed)
    return _written(
        dataset.model_copy(update={"coverage": coverage, "examples": len(rows)}),
        columns,
        {column: values[rows] for column, values in arrays.items()},
        target=target,
    )


def _read(
    dataset: Dataset, columns: Mapping[str, Column], *, source: BlobStore, name: str
) -> dict[str, np.ndarray]:
    parts: dict[str, list[np.ndarray]] = {column: [] for column in columns}
    for position, shard in enumerate(dataset.shards):
        data = source.read(Digest(shard.digest))
        entries = tensor_entries(data, where=f'datasets["{name}"].shards[{position}]')
        for column, values in parts.items():
            values.append(view(data, entries[column]))
    return {column: np.concatenate(values) for column, values in parts.items()}


def _written(
    dataset: Dataset,
    columns: Mapping[str, Column],
    arrays: Mapping[str, np.ndarray],
    *,
    target: BlobStore,
) -> Dataset:
    """Return the dataset with other contents, in one shard; categories that nobody has are gone."""
    described, stored = {}, {}
    for name, info in columns.items():
        values = arrays[name]
        if info.categories is not None:
            used, codes = np.unique(values, return_inverse=True)
            values = codes.reshape(values.shape).astype(np.int32)
            kept = tuple(info.categories[code] for code in used.tolist())
            described[name] = info.model_copy(update={"categories": kept})
        else:
            described[name] = info
        stored[name] = Packed(_CODES[info.dtype], values)
    shard = Shard(digest=target.write(pack_tensors(stored)), count=dataset.examples)
    return dataset.model_copy(update={"columns": described, "shards": (shard,)})


def _draw(examples: int, redaction: Redaction, *, name: str) -> np.ndarray:
    wanted = redaction.sample or 0
    if not 1 <= wanted <= examples:
        raise InputError(
            "sample",
            expected=f"1 to {examples} examples of dataset {name!r}",
            found=wanted,
            remedy="Choose a number that every redacted dataset has, or name datasets.",
        )
    text = f"redact\x1f{redaction.seed}\x1f{name}"
    key = int.from_bytes(hasher(text.encode()).digest()[:16], "little")
    generator = np.random.Generator(np.random.Philox(key=key))
    return np.sort(generator.choice(examples, size=wanted, replace=False))


def _gaps(
    redaction: Redaction, *, names: tuple[str, ...], log: StageLog, sampled: set[str]
) -> list[str]:
    quoted = ", ".join(repr(name) for name in names)
    gaps = []
    if redaction.drop_columns:
        gaps.append(f"columns {', '.join(redaction.drop_columns)} of {quoted} were left out")
    if redaction.key is not None:
        gaps.append(f"examples of {quoted} were replaced by keyed hashes")
    if sampled:
        users = [stage.name for stage in log.stages if sampled & set(stage.datasets)]
        gaps.append(
            f"of {quoted} {redaction.sample} examples each were kept, and no batches of "
            f"stages {', '.join(repr(name) for name in users)}"
        )
    return gaps


def no_longer_answerable(before: StageLog, after: StageLog) -> tuple[str, ...]:
    """Return what could be asked of a log and cannot be asked of its redaction."""
    lost = []
    if after.level < before.level:
        lost += [
            "every estimator that replays steps (retrain, aa_score, subsampled_replay, auto)",
            "effects of data sources, and which steps or examples did it",
            "log consistency: nobody can check this log by replay",
        ]
    axes = {
        column
        for name, dataset in before.datasets.items()
        for column in dataset.columns
        if column not in after.datasets[name].columns
    }
    if axes:
        lost.append(f"what to blame by {', '.join(sorted(axes))}")
    return tuple(lost)
