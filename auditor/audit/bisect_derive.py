"""Release B with a part of one stage taken from A: a derived manifest.

A derived manifest describes a run that never was. It is a proper log up to the changed stage, so
that an Advance from the boundary before it is the exact counterfactual; its later checkpoints are
B's and are not read. It is stored like any log, and its digest keys the actions on it.
"""

from collections.abc import Mapping
from dataclasses import replace

from auditor.audit.bisect_compare import Difference, batches_of
from auditor.audit.bisect_finding import Part
from auditor.errors import UnsupportedError
from auditor.stagelog.batches import write_batches
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.dataset import Dataset
from auditor.stagelog.digest import Digest, digest_of
from auditor.stagelog.log import Checkpoint, CheckpointRole, Graph, Stage, StageLog
from auditor.stagelog.schedule import read_schedule, write_schedule

DATA_FIELDS = ("examples_per_step", "accumulation")
SETTING_FIELDS = (
    "loss", "bindings", "optimizer", "clipping", "precision", "stochastic", "ema_decay",
    "ema_from", "accumulated", "loss_denominator", "loss_scale",
)  # fmt: skip


def derived(a: StageLog, b: StageLog, difference: Difference, *, blobs: BlobStore) -> StageLog:
    """Return B's manifest with one difference undone, its blobs written.

    Raises:
        UnsupportedError: If A's data do not have the columns that B's stage reads.
    """
    run = b.run.model_copy(
        update={"labels": {**b.run.labels, "derived": "a counterfactual of bisect, not a run"}}
    )
    log = b.model_copy(update={"run": run})
    if difference.part is Part.INITIAL:
        return _with_initial_values(a, log)
    index = difference.stage
    stage, datasets, graphs = b.stages[index], dict(b.datasets), dict(b.graphs)
    if difference.part in {Part.SETTINGS, Part.STAGE}:
        stage = _with_settings(a, index, stage, graphs=graphs, blobs=blobs)
    if difference.part in {Part.DATA, Part.STAGE}:
        stage = _with_data(a, index, stage, datasets=datasets, blobs=blobs)
    _require_columns(stage, datasets, like=b.stages[index], of=b, where=f"stages[{index}]")
    shift = stage.end_step - b.stages[index].end_step
    later = [_shifted(later, shift, blobs=blobs) for later in b.stages[index + 1 :]]
    return log.model_copy(
        update={
            "datasets": datasets,
            "graphs": graphs,
            "stages": (*b.stages[:index], stage, *later),
        }
    )


def _with_initial_values(a: StageLog, b: StageLog) -> StageLog:
    stages = tuple(
        theirs.model_copy(
            update={
                "transition": theirs.transition.model_copy(
                    update={"added_values": ours.transition.added_values}
                )
            }
        )
        for ours, theirs in zip(a.stages, b.stages, strict=True)
    )
    start = a.start.model_copy(update={"step": b.start.step})
    return b.model_copy(update={"start": start, "stages": stages})


def _with_data(
    a: StageLog, index: int, stage: Stage, *, datasets: dict[str, Dataset], blobs: BlobStore
) -> Stage:
    """Return the stage with A's datasets and batches; adds the datasets under free names."""
    ours = a.stages[index]
    names = {name: _named(name, a.datasets[name], datasets) for name in ours.datasets}
    batches = batches_of(ours, blobs, where=f"A.stages[{index}]")
    rows = [
        [replace(row, dataset=names[row.dataset]) for row in batches.rows(step)]
        for step in range(ours.first_step, ours.end_step)
    ]
    written = blobs.write(write_batches(rows, first_step=stage.first_step))
    taken = {field: getattr(ours, field) for field in DATA_FIELDS}
    used = tuple(dict.fromkeys(names.values()))
    return stage.model_copy(update={**taken, "datasets": used, "batches": written})


def _with_settings(
    a: StageLog, index: int, stage: Stage, *, graphs: dict[str, Graph], blobs: BlobStore
) -> Stage:
    """Return the stage with A's schedule, optimizer, loss and graph, and A's number of steps."""
    ours = a.stages[index]
    graph = _named(ours.graph, a.graphs[ours.graph], graphs)
    transition = stage.transition.model_copy(update={"optimizer": ours.transition.optimizer})
    taken = {field: getattr(ours, field) for field in SETTING_FIELDS}
    end = stage.first_step + ours.steps
    return stage.model_copy(
        update={
            **taken,
            "graph": graph,
            "transition": transition,
            "end_step": end,
            "schedule": _schedule_at(ours, stage.first_step, blobs=blobs),
            "checkpoints": stage.checkpoints if end == stage.end_step else (_boundary(stage, end),),
        }
    )


def _boundary(stage: Stage, step: int) -> Checkpoint:
    return stage.checkpoints[-1].model_copy(update={"step": step})


def _named(name: str, value: Dataset | Graph, known: dict[str, Dataset] | dict[str, Graph]) -> str:
    """Return the name under which a value is known, adding it under a free one if it is not."""
    known_values: dict[str, Dataset | Graph] = dict(known)
    for existing, other in known_values.items():
        if other == value:
            return existing
    free = name if name not in known_values else f"A {digest_of(value)[:16]}"
    known[free] = value  # type: ignore[assignment]  # the two mappings are never mixed
    return free


def _schedule_at(stage: Stage, first_step: int, *, blobs: BlobStore) -> str | None:
    if stage.schedule is None or stage.first_step == first_step:
        return stage.schedule
    schedule = read_schedule(blobs.read(Digest(stage.schedule)), where="schedule")
    return blobs.write(write_schedule(replace(schedule, first_step=first_step)))


def _shifted(stage: Stage, shift: int, *, blobs: BlobStore) -> Stage:
    """Return a later stage with its steps numbered anew, blobs included."""
    if shift == 0:
        return stage
    first = stage.first_step + shift
    batches = batches_of(stage, blobs, where=stage.name)
    rows = [batches.rows(step) for step in range(stage.first_step, stage.end_step)]
    return stage.model_copy(
        update={
            "first_step": first,
            "end_step": stage.end_step + shift,
            "schedule": _schedule_at(stage, first, blobs=blobs),
            "batches": blobs.write(write_batches(rows, first_step=first)),
            "checkpoints": tuple(
                checkpoint.model_copy(update={"step": checkpoint.step + shift})
                for checkpoint in stage.checkpoints
                if checkpoint.role is CheckpointRole.BOUNDARY
            ),
        }
    )


def _require_columns(
    stage: Stage, datasets: Mapping[str, Dataset], *, like: Stage, of: StageLog, where: str
) -> None:
    """Refuse data that the stage's settings cannot read, or that number their classes otherwise."""
    bound = [*stage.bindings.inputs.values(), stage.bindings.target]
    bound += [] if stage.bindings.weight is None else [stage.bindings.weight]
    expected = of.datasets[like.datasets[0]].columns
    for name in stage.datasets:
        for column in bound:
            found = datasets[name].columns.get(column)
            wanted = expected.get(column, found)
            if found is None or found != wanted:
                raise UnsupportedError(
                    f"{where}.datasets[{name}].{column}",
                    expected="a column as B's data has it: dtype, shape and categories",
                    found="none" if found is None else f"{found.dtype} {list(found.shape)}",
                    remedy="Compare releases whose data have the same columns.",
                )
