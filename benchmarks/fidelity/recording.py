"""Record a workload as a user would, and check that the recorded run is the plain one.

Also what the request draws: the rows that ``replace`` and ``drop`` use are a function of the seed
of the audit and of the log's digest, so they are read from the library, and checked to follow the
rule that the request declares.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from auditor.dynamics.interventions import intervened_examples
from auditor.dynamics.run import Run
from auditor.edge.folder import BLOBS_FOLDER, FolderBlobs, read_log
from auditor.edge.layered import LayeredBlobs
from auditor.effects import Better, Probe, QueryKind
from auditor.effects import Query as AskedQuery
from auditor.errors import InternalError
from auditor.plan.request import Intervention, Reference, Selection
from auditor.record.evalset import ColumnValues
from auditor.record.evalset_folder import write_evaluation_folder
from auditor.record.recorder import Recorder
from auditor.stagelog.digest import Digest, canonical_bytes
from benchmarks.fidelity.interventions import Asked, asked_of, dropped_rows, feed_of
from benchmarks.fidelity.training import Feed, Point, enter, initial_point, own_feed, run_updates
from benchmarks.fidelity.workload import Columns, Query, Workload, rows_of

REQUEST_SEED = 0
TOLERANCE = 1e-6
"""How far parameters that were trained under the recorder may be from the plain ones."""


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A recorded workload, ready to be audited.

    Attributes:
        folder: Holds ``log`` and the evaluation sets.
        log: The log's digest.
        sources: The folders of blobs that an audit reads.
        queries: The workload's queries as a request has them.
        interventions: Its interventions as a request has them, by :attr:`Asked.key`.
        feeds: What the request draws for each replace and drop.
    """

    folder: Path
    log: Digest
    sources: tuple[FolderBlobs, ...]
    queries: tuple[AskedQuery | Probe, ...]
    interventions: Mapping[str, Intervention]
    feeds: Mapping[str, Feed]

    def blobs(self, results: Path) -> LayeredBlobs:
        """Return a store that reads the log and writes to the folder ``results``."""
        blobs = LayeredBlobs(FolderBlobs(results))
        for source in self.sources:
            blobs.add(source)
        return blobs


@final
class _FixedClock:
    """The log's digest decides what is drawn: it must not depend on the time of the recording."""

    def now(self) -> datetime:
        """Return the same moment always."""
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        """Return zero."""
        return 0.0


def record(workload: Workload, folder: Path, *, final_point: Point) -> Recorded:
    """Train a workload under the recorder and write its log and evaluation sets.

    Args:
        workload: What to train.
        folder: An empty folder.
        final_point: Where the plain training ended.

    Raises:
        InternalError: If the recorded training ended elsewhere, or the request's draws break their
            rule.
    """
    trained = train_recorded(workload, folder / "log")
    _require_equal(trained, final_point, workload=workload)
    log, _, blobs = read_log(folder / "log")
    digest = blobs.write(canonical_bytes(log))
    sets = _EvaluationSets(folder)
    queries = tuple(_asked_query(workload, query, sets) for query in workload.queries)
    reference = sets.write("reference", workload.reference)
    interventions = {
        asked.key: _intervention(asked, reference=reference) for asked in asked_of(workload)
    }
    sources = (blobs, *sets.blobs)
    layered = LayeredBlobs(FolderBlobs(folder / "draws"))
    for source in sources:
        layered.add(source)
    run = Run(log, digest, layered, device="cpu")
    return Recorded(
        folder=folder,
        log=digest,
        sources=sources,
        queries=queries,
        interventions=interventions,
        feeds={
            asked.key: _drawn(workload, run, asked=asked, intervention=interventions[asked.key])
            for asked in asked_of(workload)
            if asked.kind != "skip"
        },
    )


def train_recorded(workload: Workload, folder: Path) -> Point:
    """Train a workload under the recorder, its log in ``folder``; return where it ended."""
    point = initial_point(workload)
    recorder = Recorder(folder, point.model, run_name=workload.name, clock=_FixedClock())
    for stage in workload.stages:
        data = recorder.dataset(stage.name, _values(stage.columns))
        with recorder.stage(
            stage.name,
            kind=stage.kind,
            optimizer=enter(workload, point, stage),
            loss=workload.loss,
            inputs=workload.inputs,
            target=workload.target,
        ) as recording:

            def declare(rows: Tensor) -> None:
                recording.batch(data, rows)  # noqa: B023 - called inside this turn of the loop

            run_updates(workload, point, stage, feed=own_feed(stage), before_step=declare)
    return point


def _require_equal(trained: Point, plain: Point, *, workload: Workload) -> None:
    expected = plain.model.state_dict()
    deviation = max(
        float((value.double() - expected[name].double()).abs().max())
        for name, value in trained.model.state_dict().items()
    )
    if not deviation <= TOLERANCE:
        raise _broken(
            f"{workload.name}: parameters of the recorded training",
            expected=f"those of the plain training within {TOLERANCE}",
            found=f"{deviation} from them",
        )


class _EvaluationSets:
    """Evaluation sets in folders of their own; equal columns are written once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written: dict[int, str] = {}
        self.blobs: list[FolderBlobs] = []

    def write(self, name: str, columns: Columns) -> str:
        """Return the digest of an evaluation set."""
        if id(columns) not in self._written:
            folder = self._folder / name
            digest = write_evaluation_folder(folder, name=name, columns=_values(columns))
            self.blobs.append(FolderBlobs(folder / BLOBS_FOLDER))
            self._written[id(columns)] = digest
        return self._written[id(columns)]


def _asked_query(workload: Workload, query: Query, sets: _EvaluationSets) -> AskedQuery | Probe:
    treated = sets.write(f"query-{query.name}", query.columns)
    asked = AskedQuery.model_validate({
        "name": query.name,
        "kind": QueryKind(query.kind),
        "better": Better(query.better),
        "data": treated,
        "target": workload.target,
        "class": query.class_,
        "reduction": "none",
    })
    if query.control is None:
        return asked
    control = sets.write(f"query-{query.name}-control", query.control)
    return Probe(name=query.name, better=asked.better, of=asked, treated=treated, control=control)


def _intervention(asked: Asked, *, reference: str) -> Intervention:
    return Intervention(
        kind=asked.kind,
        stage=asked.stage,
        where=None
        if asked.drop is None
        else Selection(columns={asked.drop.column: (asked.drop.value,)}),
        reference=Reference(data=reference) if asked.kind == "replace" else None,
    )


def _drawn(workload: Workload, run: Run, *, asked: Asked, intervention: Intervention) -> Feed:
    """Return the library's draws for an intervention, after checking that they follow its rule."""
    index = workload.stage_index(asked.stage)
    stage = workload.stages[index]
    examples = intervened_examples(run, index, intervention=intervention, seed=REQUEST_SEED)
    rows = torch.from_numpy(examples.index).reshape(stage.batches.shape)
    if asked.drop is not None:
        dropped = dropped_rows(stage, asked.drop)
        kept = ~dropped[stage.batches]
        follows = bool((rows == stage.batches)[kept].all()) and not bool(dropped[rows].any())
    else:
        size = rows_of(workload.reference)
        whole = rows.reshape(-1)[: rows.numel() // size * size].reshape(-1, size)
        follows = bool((whole.sort(dim=1).values == torch.arange(size)).all())
        follows = follows and int(rows.min()) >= 0 and int(rows.max()) < size
    if not follows:
        raise _broken(
            f"{workload.name}: rows of {asked.key!r}",
            expected="shuffled epochs of the reference, or the recorded rows but for dropped ones",
            found="other rows",
        )
    return feed_of(workload, asked, rows)


def _values(columns: Columns) -> dict[str, ColumnValues]:
    return {
        name: values if isinstance(values, Tensor) else list(values)
        for name, values in columns.items()
    }


def _broken(where: str, *, expected: str, found: str) -> InternalError:
    return InternalError(
        where, expected=expected, found=found, remedy="No figure can be trusted before it is found."
    )
