r"""Steps whose loss is a ratio: divided by the weights of their targets, or by a recorded number.

With class weights, ignored targets or tokens the loss of a step is

.. math:: L = \frac{\sum_i w_i l_i}{\sum_i d_i}

with d_i the mean weight of an example's targets: the part of its tokens that have a label, for
instance, l_i being the mean over the same tokens.
Neither depends on the parameters, so an example of a step of n examples simply counts
:math:`n / \sum_i d_i`, and the step is a mean over n examples like any other. The divisor is that
of *all* of the step's examples under the lane's intervention; a sub-sample of b of them is divided
by b / n of it, so that its gradient is unbiased. (The ratio over the sub-sample would not be.)
Accumulated as the mean of the means of A microbatches, an example counts n / (A times the divisor
of its own microbatch).
"""

from dataclasses import replace

import numpy as np

from auditor.dynamics.run import Run
from auditor.dynamics.stage_examples import StageExamples
from auditor.dynamics.tables import Table
from auditor.model.losses import mean_weight
from auditor.stagelog.log import Stage
from auditor.stagelog.reduction import divides_by_targets


def is_mean(stage: Stage) -> bool:
    """Say whether a step's weighted sum is divided by its number of examples."""
    return stage.loss.reduction == "mean" or stage.loss_denominator == "recorded"


def counted_examples(run: Run, stage_index: int, examples: StageExamples) -> StageExamples:
    """Return a stage's examples with the weights that make every step a mean over its examples.

    Args:
        run: The recorded run.
        stage_index: The stage.
        examples: What it uses; returned as they are where a step is such a mean already.
    """
    stage = run.log.stages[stage_index]
    if stage.loss_denominator != "recorded" and not divides_by_targets(stage.loss):
        return examples
    # The examples are kept with the result: an id names nothing once its owner is gone.
    key = ("counted examples", stage_index, id(examples))
    return run.keep(key, lambda: (examples, _counted(run, stage_index, examples)))[1]


def _counted(run: Run, stage_index: int, examples: StageExamples) -> StageExamples:
    stage = run.log.stages[stage_index]
    sizes = np.diff(examples.offsets)
    step = np.repeat(np.arange(len(sizes)), sizes)  # [n]
    if stage.loss_denominator == "recorded":
        divisor = run.schedule(stage_index).columns["denominator"][:, 0][step]
    elif stage.accumulated == "step" or examples.microbatch is None:
        divisor = _sums(_shares(run, stage, examples), step)
    else:
        part = step * stage.accumulation + examples.microbatch
        divisor = stage.accumulation * _sums(_shares(run, stage, examples), part)
    # Where no target counts every loss is 0, and so is what it is divided into.
    factor = np.divide(sizes[step], divisor, out=np.zeros(len(step)), where=divisor > 0)
    weights = factor if examples.weights is None else examples.weights * factor
    return replace(examples, weights=weights)


def _sums(values: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Return for each example the sum over its part, [n]."""
    sums: np.ndarray = np.bincount(part, weights=values)[part]
    return sums


def _shares(run: Run, stage: Stage, examples: StageExamples) -> np.ndarray:
    """Return d_i of every example, [n]."""
    tables = [_table_shares(run, stage, table) for table in examples.tables]
    first = np.cumsum([0, *(len(own) for own in tables)])[:-1]
    shares: np.ndarray = np.concatenate(tables)[first[examples.table] + examples.index]
    return shares


def _table_shares(run: Run, stage: Stage, table: Table) -> np.ndarray:
    def make() -> np.ndarray:
        shares: np.ndarray = mean_weight(stage.loss, table.columns[stage.bindings.target]).numpy()
        return shares

    key = ("mean weights", table.name, stage.bindings.target, stage.loss.model_dump_json())
    return run.keep(key, make)
