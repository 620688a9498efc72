"""What the schema can say but this version does not compute: refused by name, with a way out."""

from auditor.errors import UnsupportedError
from auditor.stagelog.log import Loss, Optimizer, Stage, StageLog
from auditor.stagelog.precision import PRECISIONS, parameter_precision
from auditor.stagelog.reduction import TOKEN_LOSSES

OPTIMIZERS = ("sgd", "adam", "adamw")
LOSSES = (
    "cross_entropy", "binary_cross_entropy_with_logits", "mse", "causal_lm", "dpo", "graph",
)  # fmt: skip
NOT_RECORDED = "not_recorded"
"""Kind of an optimizer that nobody noted, in a log made from checkpoints."""


def refuse_unsupported(log: StageLog) -> None:
    """Refuse a log that no exact replay of this version can follow.

    A stage without batches is not replayed by anybody: only its checkpoints are read, and how it
    was trained does not matter.

    Args:
        log: A log that :func:`auditor.stagelog.validate.validate` accepted.

    Raises:
        UnsupportedError: At the first thing that is not treated, by its path and name.
    """
    for index, stage in enumerate(log.stages):
        where = f"stages[{index}]"
        if stage.parents is not None:
            raise UnsupportedError(
                f"{where}.parents",
                expected="stages one after the other (no `parents`)",
                found=stage.parents,
                remedy="Record each branch as a log of its own.",
            )
        if stage.batches is None:
            continue
        refuse_optimizer(stage.optimizer, where=f"{where}.optimizer")
        refuse_loss(stage.loss, where=f"{where}.loss")
        _refuse_arithmetic(stage, where=where)
        _refuse_randomness(stage, where=f"{where}.stochastic")
        _refuse_mixed_precision(log, stage, where=where)
        if stage.bindings.mask is not None:
            raise UnsupportedError(
                f"{where}.bindings.mask",
                expected="no mask",
                found=stage.bindings.mask,
                remedy="Leave masked examples out of the batches, or bind the column as `weight`, "
                "which does not change the divisor of a mean.",
            )


def refuse_optimizer(optimizer: Optimizer, *, where: str) -> None:
    """Refuse an optimizer whose arithmetic is not built.

    Raises:
        UnsupportedError: Naming the optimizer or its option.
    """
    if optimizer.kind not in OPTIMIZERS:
        raise UnsupportedError(
            f"{where}.kind",
            expected=" or ".join(OPTIMIZERS),
            found=optimizer.kind,
            remedy="Train this stage with torch.optim.SGD, Adam or AdamW; or import its "
            "checkpoints alone (`stageaudit log import`), which checkpoint_delta and task_vector "
            "can answer from.",
        )
    if optimizer.amsgrad:
        raise UnsupportedError(
            f"{where}.amsgrad",
            expected="false",
            found=True,
            remedy="Train with amsgrad=False: its running maximum has no derivative.",
        )
    if optimizer.maximize:
        raise UnsupportedError(
            f"{where}.maximize",
            expected="false",
            found=True,
            remedy="Minimise the negated loss instead.",
        )


def refuse_loss(loss: Loss, *, where: str) -> None:
    """Refuse a loss that cannot be computed here.

    Raises:
        UnsupportedError: Naming the loss or its option.
    """
    if loss.kind not in LOSSES:
        raise UnsupportedError(
            f"{where}.kind",
            expected=" or ".join(LOSSES),
            found=loss.kind,
            remedy="Use a built-in loss on the outputs of the graph, or record your own as an "
            "ONNX graph from (output, target) to the loss of each example: kind `graph`.",
        )
    if loss.over == "tokens" and loss.kind not in TOKEN_LOSSES:
        raise UnsupportedError(
            f"{where}.over",
            expected=f"examples for the loss {loss.kind}",
            found="tokens",
            remedy="Use causal_lm, or cross_entropy with a class for every token.",
        )


def _refuse_arithmetic(stage: Stage, *, where: str) -> None:
    if stage.precision not in PRECISIONS:
        raise UnsupportedError(
            f"{where}.precision",
            expected=" or ".join(PRECISIONS),
            found=stage.precision,
            remedy="Train this stage in float32, or under torch.autocast in bfloat16 or float16 "
            "over float32 parameters.",
        )


def _refuse_randomness(stage: Stage, *, where: str) -> None:
    seeded = stage.masked and stage.stochastic.seed is not None
    if seeded and stage.loss.kind == "dpo":
        raise UnsupportedError(
            f"{where}.dropout",
            expected="none in a stage of preferences",
            found=stage.stochastic.dropout,
            remedy="Train this stage with dropout rates of 0.",
        )
    if stage.stochastic.dropout != "none" and not seeded:
        raise UnsupportedError(
            f"{where}.dropout",
            expected="none",
            found=stage.stochastic.dropout,
            remedy="Train with_recorded_dropout(model), whose masks can be made again, or with "
            "rates of 0.",
        )
    if stage.stochastic.augmentation == "not_recorded":
        raise UnsupportedError(
            f"{where}.augmentation",
            expected="none or recorded",
            found="not_recorded",
            remedy="Capture what the model saw with stage.batch_tensors(...).",
        )


def _refuse_mixed_precision(log: StageLog, stage: Stage, *, where: str) -> None:
    for name in sorted(stage.trainable):
        if log.parameters[name].dtype != parameter_precision(stage.precision):
            raise UnsupportedError(
                f'parameters["{name}"].dtype',
                expected=f"{parameter_precision(stage.precision)}, for the precision of {where}",
                found=log.parameters[name].dtype,
                remedy="Keep all trained parameters in the precision of the stage.",
            )
