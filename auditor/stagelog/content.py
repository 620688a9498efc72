"""Compare the blobs of a log with what its manifest says about them; needs ``[log]``, no torch."""

from auditor.errors import PreconditionError, StageLogError
from auditor.stagelog.blobs import BlobStore
from auditor.stagelog.content_datasets import check_dataset_content, check_targets
from auditor.stagelog.content_states import check_added_values, check_checkpoint
from auditor.stagelog.content_steps import check_batches_content, check_schedule_content
from auditor.stagelog.dataset import EvaluationSet
from auditor.stagelog.digest import Digest
from auditor.stagelog.log import Stage, StageLog
from auditor.stagelog.rules_parameters import present_after


def check_content(log: StageLog, blobs: BlobStore) -> None:
    """Refuse a log whose blobs are missing or contradict the manifest.

    Checked: every blob is there and has its digest; datasets, checkpoints and added values have
    the columns, names, dtypes and shapes of the manifest and finite numbers; schedules cover every
    step and group with numbers in their domains; batches cover every step with positions inside
    their datasets. Graphs are opened elsewhere (:func:`auditor.model.onnx_graph.check_graph`).

    Args:
        log: A log that :func:`auditor.stagelog.validate.validate` accepted.
        blobs: Where its blobs are.

    Raises:
        StageLogError: If a blob contradicts the manifest; ``where`` is the path of the part.
        DomainError: If a hyperparameter is outside its domain.
        NumericalError: If a recorded tensor is not finite.
        ArtifactMissingError: If a blob is not stored.
        ArtifactDigestError: If stored bytes differ from their digest.
        PreconditionError: If a file that the log only names was not supplied.
    """
    _require_stored(log, blobs)
    for name, graph in log.graphs.items():
        if len(blobs.read(Digest(graph.onnx))) == 0:
            raise StageLogError(
                f'graphs["{name}"].onnx',
                expected="an ONNX graph",
                found="no bytes",
                remedy="Record the stage again.",
            )
    for name, dataset in log.datasets.items():
        check_dataset_content(dataset, blobs, where=f'datasets["{name}"]')
    kind = log.stages[0].optimizer.kind
    check_checkpoint(
        log, log.start, blobs, present=present_after(log, -1), kind=kind, where="start"
    )
    for index, stage in enumerate(log.stages):
        where = f"stages[{index}]"
        present = present_after(log, index)
        check_added_values(log, stage, blobs, where=f"{where}.transition.added_values")
        schedule = check_schedule_content(stage, blobs, where=f"{where}.schedule")
        check_batches_content(log, stage, blobs, where=f"{where}.batches")
        _check_classes(log, stage, blobs)
        for position, checkpoint in enumerate(stage.checkpoints):
            check_checkpoint(
                log,
                checkpoint,
                blobs,
                present=present,
                kind=stage.optimizer.kind,
                where=f"{where}.checkpoints[{position}]",
                moved=() if schedule is None else schedule.moved(stage),
            )


def check_evaluation_content(evaluation_set: EvaluationSet, blobs: BlobStore) -> None:
    """Refuse an evaluation set whose shards are missing or contradict its manifest.

    Raises:
        StageLogError: If a shard contradicts the manifest.
        NumericalError: If a value is not finite.
        ArtifactMissingError: If a shard is not stored.
        ArtifactDigestError: If stored bytes differ from their digest.
    """
    check_dataset_content(evaluation_set.dataset, blobs, where="dataset")


def _check_classes(log: StageLog, stage: Stage, blobs: BlobStore) -> None:
    """Targets of cross entropy are classes when they are whole numbers."""
    shape = log.graphs[stage.graph].outputs[stage.bindings.output].shape
    classes = shape[-1] if len(shape) > 1 else None
    if stage.loss.kind != "cross_entropy" or not isinstance(classes, int):
        return
    for name in stage.datasets:
        dataset = log.datasets[name]
        if "int" in dataset.columns[stage.bindings.target].dtype:
            check_targets(
                dataset,
                blobs,
                column=stage.bindings.target,
                classes=classes,
                ignored=stage.loss.ignore_index,
                where=f'datasets["{name}"]',
            )


def _require_stored(log: StageLog, blobs: BlobStore) -> None:
    """Name all missing blobs at once: one more push brings them."""
    missing = [digest for digest in log.blobs() if not blobs.has(Digest(digest))]
    for digest in missing:
        if log.external is not None and digest in log.external:
            raise PreconditionError(
                f"external {digest}",
                expected=f"the file from {log.external[digest].place}",
                found="nothing",
                remedy="Fetch it and run `stageaudit log attach DIR FILE`: the log only names it.",
            )
    if missing:
        # Reading raises the store's own error for the first of them.
        blobs.read(Digest(missing[0]))
