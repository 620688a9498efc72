"""What a request and a log alone say against figures; no result is read."""

from collections.abc import Iterator, Mapping

from auditor.plan.asked import interventions_of, parts_of
from auditor.plan.request import AuditRequest, Intervention
from auditor.report.diagnosis import reference_smaller_than_batch, stage_without_update
from auditor.report.schema import Diagnosis
from auditor.stagelog.dataset import EvaluationSet
from auditor.stagelog.log import StageLog


def request_diagnoses(
    request: AuditRequest, log: StageLog, evaluation_sets: Mapping[str, EvaluationSet]
) -> tuple[Diagnosis, ...]:
    """Return the diagnoses of stages and references that interventions are about."""
    found: dict[tuple[str, str], Diagnosis] = {}
    for one in interventions_of(request, log):
        for part in parts_of(one):
            if _never_changed(part.stage, log):
                found.setdefault(("stage", part.stage), stage_without_update(part.stage))
            for diagnosis in _small_reference(part, log, evaluation_sets):
                found.setdefault(("reference", part.label), diagnosis)
    return tuple(found.values())


def _never_changed(name: str, log: StageLog) -> bool:
    """Say whether a stage's boundary checkpoints hold the same bytes of parameters."""
    index = next(i for i, stage in enumerate(log.stages) if stage.name == name)
    return log.boundary(index).values == log.boundary(index + 1).values


def _small_reference(
    part: Intervention, log: StageLog, evaluation_sets: Mapping[str, EvaluationSet]
) -> Iterator[Diagnosis]:
    if part.reference is None:
        return
    if part.reference.dataset is not None:
        examples = log.datasets[part.reference.dataset].examples
    else:
        examples = evaluation_sets[str(part.reference.data)].dataset.examples
    batch = next(stage.examples_per_step for stage in log.stages if stage.name == part.stage)
    # `where` may leave fewer; how many is not known without the data.
    if batch is not None and examples < batch:
        yield reference_smaller_than_batch(
            part.label, stage=part.stage, examples=examples, batch=batch
        )
