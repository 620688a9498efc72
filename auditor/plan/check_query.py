"""Does a query fit the model and its evaluation data?"""

from collections.abc import Mapping

from auditor.effects import (
    NEEDS_CLASS,
    PER_POSITION,
    TAKES_CLASS,
    Probe,
    Query,
    QueryKind,
)
from auditor.errors import QueryError, UnsupportedError
from auditor.plan.check_data import check_column, check_selection, set_named
from auditor.plan.check_encoding import check_encoding
from auditor.plan.check_query_fields import check_columns, check_fields
from auditor.plan.request import Selection
from auditor.stagelog.dataset import Column, EvaluationSet
from auditor.stagelog.log import Graph, Stage, StageLog


def check_query(
    query: Query | Probe, *, where: str, log: StageLog, sets: Mapping[str, EvaluationSet]
) -> None:
    """Refuse a query that the final model or its data cannot answer.

    Raises:
        QueryError: If the query does not fit the model, or a probe's two sets do not pair.
        InputError: If the evaluation data lacks what the query reads.
        PreconditionError: If the evaluation data was not pushed.
        UnsupportedError: If the output it names is no row of logits per example.
    """
    if isinstance(query, Probe):
        _check_pairs(query, where=where, sets=sets)
        for data in (query.treated, query.control):
            check_query(
                query.of.model_copy(update={"data": data}), where=f"{where}.of", log=log, sets=sets
            )
        return
    check_fields(query, where=where)
    if query.data is None:
        return  # the tool that it names has data of its own
    found = set_named(query.data, where=f"{where}.data", sets=sets)
    stage = log.stages[-1]
    graph = log.graphs[stage.graph]
    _check_class(query, graph, where=where)
    check_encoding(found.dataset, stage=stage, log=log, where=f"{where}.data", name=found.name)
    _check_inputs(query, found, where=where, log=log)
    if query.reads_target:
        _check_target(query, found, where=where, log=log)
    check_columns(query, found, where=where)
    if query.where is not None:
        check_selection(
            Selection(columns={query.where.column: (query.where.equals,)}),
            {found.name: found.dataset},
            where=f"{where}.where",
        )
    ids = found.dataset.columns.get("id")
    if ids is not None and (
        ids.shape or ids.dtype in {"float64", "float32", "float16", "bfloat16"}
    ):
        raise QueryError(
            f"{where}.data.id",
            expected="one whole number or text per example",
            found=f"{ids.dtype} of shape {list(ids.shape)}",
            remedy="Number the examples, or leave the column out.",
        )


def _check_pairs(probe: Probe, *, where: str, sets: Mapping[str, EvaluationSet]) -> None:
    """Refuse sets whose rows cannot be pairs; that their ids agree is seen when they are read."""
    treated = set_named(probe.treated, where=f"{where}.treated", sets=sets).dataset
    control = set_named(probe.control, where=f"{where}.control", sets=sets).dataset
    if treated.examples != control.examples:
        raise QueryError(
            where,
            expected="treated and control rows in pairs",
            found=f"{treated.examples} and {control.examples} examples",
            remedy="Build both sets from the same examples, aligned by `id`.",
        )
    ours, theirs = treated.columns.get("id"), control.columns.get("id")
    if (ours is None) != (theirs is None):
        raise QueryError(
            f"{where}.{'treated' if ours is None else 'control'}",
            expected="a column `id` in both sets or in neither",
            found="none here",
            remedy="Give both sets the ids of the examples they were made from.",
        )
    if ours is not None and theirs is not None and ours.categories != theirs.categories:
        raise QueryError(
            f"{where}.control.id",
            expected="the texts of the treated set's `id`, in their order",
            found="others",
            remedy="Write both sets from the same examples, or number the examples.",
        )


def _check_class(query: Query, graph: Graph, *, where: str) -> None:
    if query.output >= len(graph.outputs):
        raise QueryError(
            f"{where}.output",
            expected=f"one of {len(graph.outputs)} graph outputs",
            found=query.output,
            remedy="Outputs are numbered from 0; see `stageaudit log inspect`.",
        )
    shape = graph.outputs[query.output].shape
    if query.kind is QueryKind.METRIC:
        return  # its graph says what it takes
    if len(shape) not in {1, 2} and not (len(shape) > 2 and query.kind in PER_POSITION):
        raise UnsupportedError(
            f"{where}.output",
            expected="logits [N, C], or log-odds [N]",
            found=f"shape {list(shape)}",
            remedy="Let the query name the output of the graph that holds one row per example.",
        )
    single = len(shape) == 1 or shape[-1] == 1
    score = query.kind is QueryKind.SCORE
    classes = (1 if score else 2) if single else shape[-1]  # log-odds tell two classes apart
    if query.class_ is None:
        if query.kind in NEEDS_CLASS and classes != 1 and (score or classes != 2):
            raise QueryError(
                f"{where}.class",
                expected=f"the class that {query.kind.value} is about, of {classes}",
                found="none",
                remedy="Say which output of the model is meant, counted from 0.",
            )
        return
    if query.kind not in TAKES_CLASS:
        raise QueryError(
            f"{where}.class",
            expected=f"no class for {query.kind.value}, which is about each example's target",
            found=query.class_,
            remedy="Use `where` to select examples of one class, or ask for probability.",
        )
    if isinstance(classes, int) and query.class_ >= classes:
        raise QueryError(
            f"{where}.class",
            expected=f"a class from 0 to {classes - 1}",
            found=query.class_,
            remedy="Correct the class; the model has no such output.",
        )


def _check_inputs(query: Query, found: EvaluationSet, *, where: str, log: StageLog) -> None:
    stage = log.stages[-1]
    graph = log.graphs[stage.graph]
    inputs = query.inputs or stage.bindings.inputs
    known = [value.name for value in graph.inputs]
    unknown = sorted(set(inputs) - set(known))
    if unknown:
        raise QueryError(
            f"{where}.inputs.{unknown[0]}",
            expected="an input of the final stage's graph: " + ", ".join(known),
            found=unknown[0],
            remedy="Correct the name; `stageaudit log inspect` lists the inputs.",
        )
    for value in graph.inputs:
        if value.name not in inputs:
            raise QueryError(
                f"{where}.inputs",
                expected=f"a column for graph input {value.name!r}",
                found=", ".join(inputs),
                remedy="Name the column that feeds each graph input.",
            )
        like = _trained_on(log, stage, stage.bindings.inputs.get(value.name))
        column = inputs[value.name]
        check_column(column, found.dataset, like=like, where=f"{where}.data", name=found.name)


def _check_target(query: Query, found: EvaluationSet, *, where: str, log: StageLog) -> None:
    """Refuse a target that is no class per example, or that numbers its classes differently."""
    at = f"{where}.target"
    check_column(query.target, found.dataset, like=None, where=at, name=found.name)
    column = found.dataset.columns[query.target]
    stage = log.stages[-1]
    if query.kind is QueryKind.METRIC:
        return  # any column that its graph takes
    per_position = len(log.graphs[stage.graph].outputs[query.output].shape) > 2
    if bool(column.shape) != per_position:
        raise QueryError(
            at,
            expected="a column of one class per position of the output"
            if per_position
            else "a column of one class per example",
            found=f"shape {list(column.shape)}",
            remedy="Name the column that holds the classes.",
        )
    own = _trained_on(log, stage, stage.bindings.target)
    if own is None or query.output != stage.bindings.output:
        return
    if column.categories != own.categories:
        raise QueryError(
            at,
            expected="classes as the training data numbers them: "
            + (", ".join(own.categories) if own.categories else "numbers, not texts"),
            found=", ".join(column.categories) if column.categories else "numbers",
            remedy="Write the evaluation set's classes as in the training data.",
        )


def _trained_on(log: StageLog, stage: Stage, column: str | None) -> Column | None:
    """Return a column as the final stage's model sees it; None where the log has none."""
    if column is None or not stage.datasets:
        return None
    found = log.datasets[stage.datasets[0]].columns.get(column)
    if found is None or stage.loss.kind != "dpo":
        return found
    return found.model_copy(update={"shape": found.shape[1:]})  # a pair is two texts to it
