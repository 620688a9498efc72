"""Is an intervention complete, and does it fit the log?"""

from collections.abc import Mapping
from typing import assert_never

from auditor.errors import InputError
from auditor.plan.check_data import (
    check_column,
    check_selection,
    require_examples,
    set_named,
)
from auditor.plan.check_encoding import check_encoding
from auditor.plan.request import Change, Intervention, Reference, Selection
from auditor.stagelog.dataset import Dataset, EvaluationSet
from auditor.stagelog.log import Stage, StageLog
from auditor.stagelog.optimizer_columns import BELOW_ONE, COLUMNS_OF


def check_intervention(
    intervention: Intervention,
    *,
    where: str,
    log: StageLog,
    evaluation_sets: Mapping[str, EvaluationSet],
) -> None:
    """Refuse an intervention that is incomplete or does not fit its stage."""
    stage = _stage_named(intervention.stage, where=where, log=log)
    _check_window(intervention, stage, where=where)
    allowed = {
        "skip": set(),
        "fade": {"alpha"},
        "replace": {"reference"},
        "drop": {"where", "divisor"},
        "change": {"hyperparameters"},
    }[intervention.kind]
    given = {
        name
        for name in ("where", "alpha", "reference", "divisor", "hyperparameters")
        if getattr(intervention, name) is not None
    }
    if given - allowed:
        name = sorted(given - allowed)[0]
        raise InputError(
            f"{where}.{name}",
            expected=f"no {name} on a {intervention.kind}",
            found=name,
            remedy=f"Remove {name} or choose the intervention it belongs to.",
        )
    match intervention.kind:
        case "skip":
            pass
        case "fade":
            if intervention.alpha is None:
                raise _missing(f"{where}.alpha", "a number from 0 to 1")
        case "replace":
            if intervention.reference is None:
                raise _missing(f"{where}.reference", "the data the stage would have used instead")
            _check_reference(
                intervention.reference,
                stage,
                where=f"{where}.reference",
                log=log,
                evaluation_sets=evaluation_sets,
            )
        case "drop":
            if intervention.where is None:
                raise _missing(f"{where}.where", "which examples to drop, as column: values")
            used = {name: log.datasets[name] for name in stage.datasets}
            check_selection(intervention.where, used, where=f"{where}.where")
            _require_some_left(intervention.where, used, stage, where=f"{where}.where")
        case "change":
            if not intervention.hyperparameters:
                raise _missing(f"{where}.hyperparameters", "which ones, such as {lr: {scale: 0.5}}")
            _check_changes(intervention.hyperparameters, stage, where=f"{where}.hyperparameters")
        case _:
            assert_never(intervention.kind)


def _require_some_left(
    selection: Selection, used: Mapping[str, Dataset], stage: Stage, *, where: str
) -> None:
    """Refuse a drop that the texts of the columns already show to take all of a stage's examples.

    Of columns without texts this is seen when the data is read.
    """
    for dataset in used.values():
        for name, values in selection.columns.items():
            column = dataset.columns.get(name)
            if column is None or column.categories is None or set(column.categories) - set(values):
                return
    raise InputError(
        where,
        expected=f"a selection that leaves stage {stage.name!r} some of its examples",
        found=f"{' and '.join(selection.parts)}, which all of them have",
        remedy="Ask what the stage did with `skip`, or what other data would have done with "
        "`replace`: nothing is left to fill its batches.",
    )


def _check_changes(changes: Mapping[str, Change], stage: Stage, *, where: str) -> None:
    """Refuse names that the optimizer does not have, and values that it would refuse.

    What ``scale`` leads to is seen when the schedule is read.
    """
    known = COLUMNS_OF.get(stage.optimizer.kind, ())
    for name, change in changes.items():
        if name not in known:
            raise InputError(
                f"{where}.{name}",
                expected=f"a hyperparameter of {stage.optimizer.kind}: " + ", ".join(known),
                found=name,
                remedy="Name it as the schedule does; betas are `beta1` and `beta2`.",
            )
        if name in BELOW_ONE and change.value is not None and change.value >= 1:
            raise InputError(
                f"{where}.{name}.value",
                expected="a number from 0 to below 1",
                found=change.value,
                remedy="Correct the value; torch refuses this one.",
            )


def _missing(where: str, expected: str) -> InputError:
    return InputError(where, expected=expected, found="nothing", remedy="Add the field.")


def _stage_named(name: str, *, where: str, log: StageLog) -> Stage:
    for stage in log.stages:
        if stage.name == name:
            return stage
    raise InputError(
        f"{where}.stage",
        expected="one of the log's stages: " + ", ".join(s.name for s in log.stages),
        found=name,
        remedy="Correct the name; `stageaudit log inspect` lists the stages.",
    )


def _check_window(intervention: Intervention, stage: Stage, *, where: str) -> None:
    window = intervention.steps
    if window is None:
        return
    if not stage.first_step <= window.first_step < window.end_step <= stage.end_step:
        raise InputError(
            f"{where}.steps",
            expected=f"a window that is not empty inside [{stage.first_step}, {stage.end_step})",
            found=f"[{window.first_step}, {window.end_step})",
            remedy="Steps are numbered over the whole run; see `stageaudit log inspect`.",
        )


def _check_reference(
    reference: Reference,
    stage: Stage,
    *,
    where: str,
    log: StageLog,
    evaluation_sets: Mapping[str, EvaluationSet],
) -> None:
    if (reference.dataset is None) == (reference.data is None):
        raise InputError(
            where,
            expected="exactly one of `dataset` (of the log) and `data` (an evaluation set)",
            found="both" if reference.dataset else "neither",
            remedy="Name the reference once.",
        )
    if reference.dataset is not None:
        if reference.dataset not in log.datasets:
            raise InputError(
                f"{where}.dataset",
                expected="one of the log's datasets: " + ", ".join(sorted(log.datasets)),
                found=reference.dataset,
                remedy="Correct the name or push the reference as an evaluation set.",
            )
        dataset, name = log.datasets[reference.dataset], reference.dataset
        require_examples(dataset, where=f"{where}.dataset", name=name)
    else:
        found = set_named(reference.data or "", where=f"{where}.data", sets=evaluation_sets)
        dataset, name = found.dataset, found.name
    check_encoding(dataset, stage=stage, log=log, where=where, name=name)
    bound = [*stage.bindings.inputs.values(), stage.bindings.target]
    if stage.bindings.weight is not None:
        bound.append(stage.bindings.weight)
    for used in stage.datasets:  # which agree on all but the categories
        for column in bound:
            own = log.datasets[used].columns[column]
            check_column(column, dataset, like=own, where=where, name=name)
    if reference.where is not None:
        check_selection(reference.where, {name: dataset}, where=f"{where}.where")
