"""What it takes to answer a request again, and what of it is gone; no torch."""

from collections.abc import Iterator

from auditor.plan.asked import data_of, metrics_of
from auditor.plan.request import AuditRequest
from auditor.report.reproduction import Missing
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.dataset import Dataset
from auditor.stagelog.digest import Digest
from auditor.stagelog.evaluation import parse_evaluation_set
from auditor.stagelog.log import Checkpoint, StageLog

NOT_GIVEN = "not in the folders given"


def missing_data(
    request: AuditRequest, log: StageLog, *, blobs: BlobStore, names: dict[str, str]
) -> tuple[Missing, ...]:
    """Return the parts of a log and the evaluation data that are not at hand.

    Args:
        request: What is to be answered again.
        log: Its log.
        blobs: Everything at hand.
        names: Names of evaluation sets by digest, as far as they are known.
    """
    parts = (*_parts_of(log), *_evaluation_parts(request, blobs=blobs, names=names))
    absent: dict[str, int] = {}
    total: dict[str, int] = {}
    for what, digest in parts:
        total[what] = total.get(what, 0) + 1
        if not blobs.has(Digest(digest)):
            absent[what] = absent.get(what, 0) + 1
    return tuple(
        Missing(
            what=what, why=NOT_GIVEN if count == total[what] else f"{count} of {total[what]} gone"
        )
        for what, count in absent.items()
    )


def _parts_of(log: StageLog) -> Iterator[tuple[str, str]]:
    """Yield the name and digest of every blob that a log's manifest names."""
    for name, graph in log.graphs.items():
        yield f"graph {name!r}", graph.onnx
    for name, dataset in log.datasets.items():
        yield from _shards(f"examples of dataset {name!r}", dataset)
    yield from _states("checkpoint at the start", log.start)
    for stage in log.stages:
        for checkpoint in stage.checkpoints:
            yield from _states(f"checkpoints of stage {stage.name!r}", checkpoint)
        for what, digest in (
            ("added parameters", stage.transition.added_values),
            ("schedule", stage.schedule),
            ("batches", stage.batches),
            ("loss graph", stage.loss.graph),
        ):
            if digest is not None:
                yield f"{what} of stage {stage.name!r}", digest


def _shards(what: str, dataset: Dataset) -> Iterator[tuple[str, str]]:
    for shard in dataset.shards:
        yield what, shard.digest


def _states(what: str, checkpoint: Checkpoint) -> Iterator[tuple[str, str]]:
    for digest in checkpoint.values:
        yield what, digest
    if checkpoint.optimizer is not None:
        yield what, checkpoint.optimizer


def _evaluation_parts(
    request: AuditRequest, *, blobs: BlobStore, names: dict[str, str]
) -> Iterator[tuple[str, str]]:
    for digest in data_of(request):
        what = f"evaluation data {names.get(digest, 'of a reference')!r} ({digest[:12]})"
        yield what, digest
        if blobs.has(Digest(digest)):
            found = parse_evaluation_set(blobs.read(Digest(digest)))
            yield from _shards(what, found.dataset)
    for digest in metrics_of(request):
        yield f"metric graph ({digest[:12]})", digest
