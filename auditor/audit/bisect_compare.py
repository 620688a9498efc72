"""Two releases stage by stage: what differs, and what can be carried from one into the other.

Stages that are equal by content are no candidates. Content is compared and not digests, because a
schedule also records losses, which differ wherever anything before did, and numbers its steps over
the whole run.
"""

from dataclasses import dataclass

import numpy as np

from auditor.audit.bisect_finding import Part
from auditor.errors import InputError, PreconditionError, UnsupportedError
from auditor.stagelog.batches import Batches, read_batches
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.digest import Digest, digest_of
from auditor.stagelog.log import Stage, StageLog
from auditor.stagelog.optimizer_columns import COLUMNS_OF
from auditor.stagelog.schedule import read_schedule


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Something that differs between the releases and can be carried over by itself.

    Attributes:
        stage: Position of the stage; 0 for the initial values of the run.
        part: What of it.
        what: Fields that differ, for people.
        resampled: Whether other examples are used, and not the same ones in another order.
    """

    stage: int
    part: Part
    what: tuple[str, ...]
    resampled: bool


def differences(a: StageLog, b: StageLog, blobs: BlobStore) -> tuple[Difference, ...]:
    """Return what differs between two logs of the same stages, in the order of the run.

    Where both data and settings of a stage differ, each is a difference and so are the two
    together. Where a stage has another number of steps, data and settings do not fit one another
    and only the whole stage can be carried over.

    Raises:
        InputError: If the stages are others, or nothing differs.
        PreconditionError: If a log does not hold every batch.
        UnsupportedError: If the models or the trained parameters are others.
    """
    _require_comparable(a, b)
    found: list[Difference] = []
    if _initial(a) != _initial(b):
        found.append(
            Difference(stage=0, part=Part.INITIAL, what=("initial values",), resampled=False)
        )
    for index in range(len(a.stages)):
        found += _of_stage(a, b, index, blobs=blobs)
    if not found:
        raise InputError(
            "A, B",
            expected="releases that differ",
            found="the same stages, data, settings and initial values",
            remedy="Nothing recorded explains a difference of these models; compare their files.",
        )
    return tuple(found)


def batches_of(stage: Stage, blobs: BlobStore, *, where: str) -> Batches:
    """Return a stage's batches, which a log of level 2 has."""
    if stage.batches is None:
        raise PreconditionError(
            f"{where}.batches",
            expected="every batch",
            found="none",
            remedy="Record the run with its batches.",
        )
    return read_batches(blobs.read(Digest(stage.batches)), where=f"{where}.batches")


def _initial(log: StageLog) -> tuple[str | None, ...]:
    added = (stage.transition.added_values for stage in log.stages)
    return (log.start.parameters, log.start.optimizer, *added)


def _of_stage(a: StageLog, b: StageLog, index: int, *, blobs: BlobStore) -> list[Difference]:
    ours, theirs = a.stages[index], b.stages[index]
    data, resampled = _data(a, b, index, blobs=blobs)
    settings = _settings(a, b, index, blobs=blobs)

    def difference(part: Part, what: tuple[str, ...]) -> Difference:
        own = resampled and part is not Part.SETTINGS
        return Difference(stage=index, part=part, what=what, resampled=own)

    if ours.steps != theirs.steps:
        steps = f"{ours.steps} instead of {theirs.steps} steps"
        return [difference(Part.STAGE, (steps, *data, *settings))]
    found = []
    if data:
        found.append(difference(Part.DATA, data))
    if settings:
        found.append(difference(Part.SETTINGS, settings))
    if data and settings:
        found.append(difference(Part.STAGE, (*data, *settings)))
    return found


def _data(
    a: StageLog, b: StageLog, index: int, *, blobs: BlobStore
) -> tuple[tuple[str, ...], bool]:
    """Return how the data differ, and whether the examples do or only their order."""
    where = f"stages[{index}]"
    ours, theirs = a.stages[index], b.stages[index]
    mine = batches_of(ours, blobs, where=f"A.{where}")
    other = batches_of(theirs, blobs, where=f"B.{where}")
    contents = [
        sorted(digest_of(log.datasets[name]) for name in log.stages[index].datasets)
        for log in (a, b)
    ]
    if contents[0] != contents[1]:
        return ("datasets",), True
    if ours.accumulation == theirs.accumulation and _steps(a, mine) == _steps(b, other):
        return (), False
    if _examples(a, mine) == _examples(b, other):
        return ("order of the examples",), False
    return ("examples",), True


def _steps(log: StageLog, batches: Batches) -> list[tuple[tuple[str, int, bytes, bytes], ...]]:
    """Return every step's rows by content."""
    last = batches.first_step + batches.steps
    return [
        tuple(
            (
                digest_of(log.datasets[row.dataset]),
                row.microbatch,
                row.indices.astype(np.int64).tobytes(),
                b"" if row.weights is None else row.weights.tobytes(),
            )
            for row in batches.rows(step)
        )
        for step in range(batches.first_step, last)
    ]


def _examples(log: StageLog, batches: Batches) -> dict[str, bytes]:
    """Return which examples were used how often, whatever their order, by dataset."""
    used: dict[str, list[np.ndarray]] = {}
    for step in range(batches.first_step, batches.first_step + batches.steps):
        for row in batches.rows(step):
            used.setdefault(digest_of(log.datasets[row.dataset]), []).append(row.indices)
    return {name: np.sort(np.concatenate(rows)).tobytes() for name, rows in used.items()}


def _settings(a: StageLog, b: StageLog, index: int, *, blobs: BlobStore) -> tuple[str, ...]:
    ours, theirs = a.stages[index], b.stages[index]
    fields = (
        "loss", "clipping", "precision", "stochastic", "ema_decay", "ema_from", "accumulated",
        "loss_denominator", "loss_scale",
    )  # fmt: skip
    found = [name for name in fields if getattr(ours, name) != getattr(theirs, name)]
    if ours.transition.optimizer != theirs.transition.optimizer:
        found.append("optimizer state kept or reset")
    if ours.bindings != theirs.bindings:
        found.append("bindings")
    if a.graphs[ours.graph] != b.graphs[theirs.graph]:
        found.append("graph")
    if ours.optimizer != theirs.optimizer:
        found.append("optimizer")
    if ours.optimizer.kind == theirs.optimizer.kind:
        found += _schedules(ours, theirs, index=index, blobs=blobs)
    return tuple(found)


def _schedules(ours: Stage, theirs: Stage, *, index: int, blobs: BlobStore) -> list[str]:
    """Return the hyperparameters whose numbers differ; recorded losses are no hyperparameters."""
    columns = []
    for release, stage in (("A", ours), ("B", theirs)):
        if stage.schedule is None:  # a log of level 2 has one
            return []
        where = f"{release}.stages[{index}].schedule"
        columns.append(read_schedule(blobs.read(Digest(stage.schedule)), where=where).columns)
    mine, other = columns
    return [
        name
        for name in COLUMNS_OF[ours.optimizer.kind]
        if not np.array_equal(mine[name], other[name])
    ]


def _require_comparable(a: StageLog, b: StageLog) -> None:
    names = [[stage.name for stage in log.stages] for log in (a, b)]
    if names[0] != names[1]:
        raise InputError(
            "stages",
            expected="the same stages in the same order in A and B",
            found=f"{', '.join(names[0])} and {', '.join(names[1])}",
            remedy="Compare releases of one pipeline. For a stage that only B has, audit B with "
            "`--skip STAGE`.",
        )
    for release, log in (("A", a), ("B", b)):
        if log.level < 2:
            raise PreconditionError(
                f"{release}.level",
                expected="level 2: schedules, optimizer states and every batch with its data",
                found=f"level {log.level}",
                remedy="Record both runs with their batches.",
            )
    if a.parameters != b.parameters:
        raise UnsupportedError(
            "parameters",
            expected="one architecture: the same names, shapes and dtypes in A and B",
            found="others",
            remedy="Compare releases of one architecture.",
        )
    for index, (ours, theirs) in enumerate(zip(a.stages, b.stages, strict=True)):
        mine, other = (
            (stage.groups, stage.transition.appearing, stage.transition.vanishing)
            for stage in (ours, theirs)
        )
        if mine != other:
            raise UnsupportedError(
                f"stages[{index}].groups",
                expected="the same parameters added, removed and trained in A and B",
                found="others",
                remedy="Compare releases that train the same parameters in each stage.",
            )
