"""Does a query fit the model and its evaluation data?"""

from collections.abc import Mapping

from auditor.effects import Probe, Query
from auditor.errors import QueryError
from auditor.plan.check_data import check_column, check_selection, set_named
from auditor.plan.request import Selection
from auditor.stagelog.dataset import EvaluationSet
from auditor.stagelog.log import StageLog


def check_query(
    query: Query | Probe, *, where: str, log: StageLog, sets: Mapping[str, EvaluationSet]
) -> None:
    """Refuse a query that the final model or its data cannot answer."""
    if isinstance(query, Probe):
        treated = set_named(query.treated, where=f"{where}.treated", sets=sets)
        control = set_named(query.control, where=f"{where}.control", sets=sets)
        if treated.dataset.examples != control.dataset.examples:
            raise QueryError(
                where,
                expected="treated and control rows in pairs",
                found=f"{treated.dataset.examples} and {control.dataset.examples} examples",
                remedy="Build both sets from the same examples, aligned by `id`.",
            )
        for data in (query.treated, query.control):
            check_query(
                query.of.model_copy(update={"data": data}), where=f"{where}.of", log=log, sets=sets
            )
        return
    found = set_named(query.data, where=f"{where}.data", sets=sets)
    stage = log.stages[-1]
    graph = log.graphs[stage.graph]
    own = log.datasets[stage.datasets[0]].columns if stage.datasets else {}
    inputs = query.inputs or stage.bindings.inputs
    for value in graph.inputs:
        if value.name not in inputs:
            raise QueryError(
                f"{where}.inputs",
                expected=f"a column for graph input {value.name!r}",
                found=", ".join(inputs),
                remedy="Name the column that feeds each graph input.",
            )
        column = inputs[value.name]
        like = own.get(stage.bindings.inputs.get(value.name, ""))
        check_column(column, found.dataset, like=like, where=f"{where}.data", name=found.name)
    if query.class_ is None or query.kind in {"loss", "accuracy"}:
        check_column(query.target, found.dataset, like=None, where=where, name=found.name)
    if query.where is not None:
        check_selection(
            Selection(columns={query.where.column: (query.where.equals,)}),
            found.dataset,
            where=f"{where}.where",
            name=found.name,
        )
    if query.output >= len(graph.outputs):
        raise QueryError(
            f"{where}.output",
            expected=f"one of {len(graph.outputs)} graph outputs",
            found=query.output,
            remedy="Outputs are numbered from 0; see `stageaudit log inspect`.",
        )
    classes = graph.outputs[query.output].shape[-1] if graph.outputs[query.output].shape else 1
    if query.class_ is not None and isinstance(classes, int) and query.class_ >= classes:
        raise QueryError(
            f"{where}.class",
            expected=f"a class from 0 to {classes - 1}",
            found=query.class_,
            remedy="Correct the class; the model has no such output.",
        )
