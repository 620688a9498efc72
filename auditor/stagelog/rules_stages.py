"""Cross-field rules of stages: steps, names, bindings and checkpoints."""

from collections.abc import Iterable

from auditor.errors import StageLogError
from auditor.stagelog.dataset import Column
from auditor.stagelog.log import CheckpointRole, Stage, StageLog
from auditor.stagelog.rules_losses import check_loss

MAX_STAGES = 256
MAX_STEPS = 10**7
WITNESS_STEPS = 4


def witness_step(stage: Stage) -> int:
    """Return the step at whose start the recorder keeps a witness of the stage's arithmetic."""
    return stage.first_step + min(WITNESS_STEPS, stage.steps)


def check_steps(log: StageLog) -> None:
    """Refuse stages that do not follow one another.

    Raises:
        StageLogError: At a gap, an overlap, a stage without steps, a name used twice, or too
            many stages or steps.
    """
    if not 1 <= len(log.stages) <= MAX_STAGES:
        raise StageLogError(
            "stages",
            expected=f"1 to {MAX_STAGES} stages",
            found=len(log.stages),
            remedy="Merge stages that serve one purpose.",
        )
    if log.start.step != log.stages[0].first_step or log.start.role is not CheckpointRole.BOUNDARY:
        raise StageLogError(
            "start.step",
            expected=f"a boundary checkpoint at step {log.stages[0].first_step}",
            found=f"{log.start.role} at step {log.start.step}",
            remedy="Record the state before the first stage.",
        )
    names: dict[str, int] = {}
    expected = log.start.step
    for index, stage in enumerate(log.stages):
        where = f"stages[{index}]"
        if stage.name in names:
            raise StageLogError(
                f"{where}.name",
                expected="a name that no other stage has",
                found=f"{stage.name}, also stages[{names[stage.name]}]",
                remedy="Rename one of the two.",
            )
        names[stage.name] = index
        if stage.first_step != expected:
            kind = "a gap" if stage.first_step > expected else "an overlap"
            raise StageLogError(
                f"{where}.first_step",
                expected=f"{expected}, where the stage before ends",
                found=f"{stage.first_step}, {kind}",
                remedy="Number steps through all stages without holes.",
            )
        if stage.steps < 1:
            raise StageLogError(
                f"{where}.end_step",
                expected=f"at least {stage.first_step + 1}: a stage has steps",
                found=stage.end_step,
                remedy="Leave out a stage in which nothing was trained.",
            )
        expected = stage.end_step
    if expected - log.start.step > MAX_STEPS:
        raise StageLogError(
            "stages",
            expected=f"at most {MAX_STEPS} steps in all",
            found=expected - log.start.step,
            remedy="Record the run as several logs.",
        )


def check_stage(log: StageLog, index: int) -> None:
    """Refuse a stage that names what is not there, or keeps checkpoints at wrong steps.

    Raises:
        StageLogError: At the first such field.
    """
    stage, where = log.stages[index], f"stages[{index}]"
    if stage.graph not in log.graphs:
        raise _unknown(f"{where}.graph", found=stage.graph, known=log.graphs)
    _check_datasets(log, stage, where=where)
    _check_bindings(log, stage, where=f"{where}.bindings")
    check_loss(stage, where=f"{where}.loss")
    _check_checkpoints(stage, where=f"{where}.checkpoints")
    if stage.batches is not None and stage.examples_per_step is None:
        raise StageLogError(
            f"{where}.examples_per_step",
            expected="the largest number of examples of a step, since batches are recorded",
            found="nothing",
            remedy="Record it.",
        )
    earlier = [s.name for s in log.stages[:index]]
    for parent in stage.parents or ():
        if parent not in earlier:
            raise _unknown(f"{where}.parents", found=parent, known=earlier)


def _check_datasets(log: StageLog, stage: Stage, *, where: str) -> None:
    for name in stage.datasets:
        if name not in log.datasets:
            raise _unknown(f"{where}.datasets", found=name, known=log.datasets)
    if len(set(stage.datasets)) != len(stage.datasets):
        raise StageLogError(
            f"{where}.datasets",
            expected="each dataset once",
            found=stage.datasets,
            remedy="Name a dataset of the mixture once; the batches say how often it is used.",
        )
    if stage.batches is not None and not stage.datasets:
        raise StageLogError(
            f"{where}.datasets",
            expected="the datasets that the batches use",
            found="none",
            remedy="List them.",
        )


def _check_bindings(log: StageLog, stage: Stage, *, where: str) -> None:
    graph, bindings = log.graphs[stage.graph], stage.bindings
    inputs = [value.name for value in graph.inputs]
    if set(bindings.inputs) != set(inputs):
        raise StageLogError(
            f"{where}.inputs",
            expected=f"one column for each graph input: {', '.join(inputs)}",
            found=", ".join(bindings.inputs) or "none",
            remedy="Bind every input of the graph to a column of the datasets.",
        )
    if bindings.output >= len(graph.outputs):
        raise StageLogError(
            f"{where}.output",
            expected=f"an output below {len(graph.outputs)}",
            found=bindings.output,
            remedy="Count the graph's outputs from 0.",
        )
    bound = {f'inputs["{name}"]': column for name, column in bindings.inputs.items()}
    bound["target"] = bindings.target
    bound |= {} if bindings.weight is None else {"weight": bindings.weight}
    bound |= {} if bindings.mask is None else {"mask": bindings.mask}
    for field, column in bound.items():
        first: tuple[str, Column] | None = None
        for name in stage.datasets:
            columns = log.datasets[name].columns
            if column not in columns:
                raise _unknown(f"{where}.{field}", found=column, known=columns)
            found = columns[column]
            if first is not None and (found.dtype, found.shape) != (first[1].dtype, first[1].shape):
                raise StageLogError(
                    f'datasets["{name}"].columns["{column}"]',
                    expected=f"{first[1].dtype} {list(first[1].shape)} as in dataset {first[0]}",
                    found=f"{found.dtype} {list(found.shape)}",
                    remedy="Datasets of one stage need the same bound columns.",
                )
            first = first or (name, found)


def _check_checkpoints(stage: Stage, *, where: str) -> None:
    if not stage.checkpoints:
        raise StageLogError(
            where,
            expected=f"at least the boundary checkpoint at step {stage.end_step}",
            found="none",
            remedy="Record the state at the end of every stage.",
        )
    previous = stage.first_step
    for position, checkpoint in enumerate(stage.checkpoints):
        at = f"{where}[{position}]"
        last = position == len(stage.checkpoints) - 1
        if not previous < checkpoint.step <= stage.end_step:
            raise StageLogError(
                f"{at}.step",
                expected=f"a step from {previous + 1} to {stage.end_step}, in order",
                found=checkpoint.step,
                remedy="Keep checkpoints of the stage's own steps, ordered by step.",
            )
        previous = checkpoint.step
        if last and checkpoint.step != stage.end_step:
            raise StageLogError(
                f"{at}.step",
                expected=f"the boundary checkpoint at step {stage.end_step}",
                found=checkpoint.step,
                remedy="Record the state at the end of every stage.",
            )
        if last != (checkpoint.role is CheckpointRole.BOUNDARY):
            raise StageLogError(
                f"{at}.role",
                expected="boundary for the last checkpoint of a stage and for no other",
                found=str(checkpoint.role),
                remedy="Correct the role.",
            )
        if checkpoint.role is CheckpointRole.WITNESS and checkpoint.step != witness_step(stage):
            raise StageLogError(
                f"{at}.step",
                expected=f"the witness at step {witness_step(stage)}",
                found=checkpoint.step,
                remedy="Keep the witness a few steps after the stage's start, or say `cadence`.",
            )


def _unknown(where: str, *, found: str, known: Iterable[str]) -> StageLogError:
    return StageLogError(
        where,
        expected=f"one of {', '.join(known) or 'none'}",
        found=found,
        remedy="Correct the name or add what it names.",
    )
