"""What a Hugging Face ``Trainer`` does in a step, in the terms of a stage log."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from auditor.errors import UnsupportedError
from auditor.record.adapters.ledger import Averaging
from auditor.record.adapters.trl_pairs import preference_loss_of
from auditor.stagelog.log import Clipping, Loss
from auditor.stagelog.reduction import IGNORED_LABEL, declared_loss

LABELS = "labels"
"""Column of the loss's target, by the name that Hugging Face models give it."""

_TOKENS = Loss(kind="cross_entropy", over="tokens", ignore_index=IGNORED_LABEL)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class TrainerFacts:
    """How a trainer turns batches into steps.

    Attributes:
        loss: What it minimises.
        accumulation: Forward passes of a step in each process.
        accumulated: Whether the losses of microbatches are averaged, or their sum is divided by
            the whole step's count.
        averaging: What averages microbatches, where they are.
        first_labels: Whether the trainer counts labels of first tokens, which nothing predicts,
            among those that it divides by.
        clipping: What happens to gradients before a step.
        precision: The precision of operations; None for that of the parameters.
    """

    loss: Loss
    accumulation: int
    accumulated: Literal["microbatches", "step"]
    averaging: Averaging
    first_labels: Literal["counted", "left_out"]
    clipping: Clipping | None
    precision: str | None


def trainer_facts(
    trainer: Any,  # noqa: ANN401 - an optional library's class
    model: nn.Module,
    *,
    loss: Loss | str | None,
    sample: Mapping[str, Tensor] | None,
) -> TrainerFacts:
    """Return what the trainer's arguments and its model say.

    Args:
        trainer: A ``transformers.Trainer``.
        model: Its model without wrappers.
        loss: What it minimises, where that cannot be read from the model.
        sample: A few examples as the collator makes them; None when there are none yet.

    Raises:
        UnsupportedError: If the loss is not known.
    """
    args = trainer.args
    declared = declared_loss(loss) if isinstance(loss, str) else loss
    found = declared or _loss_of(trainer, model)
    averaging: Averaging = "found"
    counted = False
    takes_count = trainer.model_accepts_loss_kwargs or trainer.compute_loss_func is not None
    # A trainer with a loss of its own (DPO) says here that it is a mean over each microbatch.
    if takes_count and getattr(trainer, "loss_is_scaled_for_ga", None) is not False:
        # The trainer hands over how many items a step has, and trusts that the loss is divided
        # by it. Where it is not, means of microbatches are added up.
        own = (
            trainer.compute_loss_func is not None
            or trainer.label_smoother is not None
            or is_a(trainer, "SFTTrainer")
        )
        counted = own or _divides_by_count(model, found, sample=sample)
        averaging = "found" if counted else "none"
    # Older releases of transformers do so for every model, newer ones for some (such as GPT-2).
    unshifted = counted and found.kind == "causal_lm" and not _shifts_count(trainer)
    return TrainerFacts(
        loss=found,
        accumulation=int(args.gradient_accumulation_steps),
        accumulated="step" if counted else "microbatches",
        averaging=averaging,
        first_labels="counted" if unshifted else "left_out",
        clipping=Clipping(kind="norm", limit=args.max_grad_norm) if args.max_grad_norm else None,
        precision="autocast bfloat16 over float32" if args.bf16 else None,
    )


def labels_counted(labels: Tensor) -> Tensor:
    """Return how many labels each example has, first tokens included, [N]."""
    return (labels != IGNORED_LABEL).flatten(1).sum(dim=1)


def require_recordable(trainer: Any, model: nn.Module) -> None:  # noqa: ANN401 - as above
    """Refuse a training that a log could not hold faithfully, before it begins.

    Args:
        trainer: A ``transformers.Trainer``.
        model: Its model without wrappers.

    Raises:
        UnsupportedError: With what to change; the first thing is named.
    """
    args = trainer.args
    checks: tuple[tuple[object, str, str], ...] = (
        (args.fp16, "fp16", "Train with bf16=True or in float32; or write the loop with "
         "torch.amp.GradScaler and record it with recorder.stage(scaler=...)."),
        (args.torch_compile, "torch_compile", "Train without it: what is compiled calls no hooks."),
        (args.load_best_model_at_end, "load_best_model_at_end", "Load the best checkpoint after "
         "the stage: the log ends with the state after the last step."),
        (args.auto_find_batch_size, "auto_find_batch_size", "Give a batch size that fits."),
        (args.neftune_noise_alpha, "neftune_noise_alpha", "Train without the noise."),
        (args.deepspeed, "deepspeed", "Train in one process without it."),
        (args.fsdp, "fsdp", "Train in one process without it."),
        (args.n_gpu > 1, "n_gpu", "Train on one device."),
        (args.use_liger_kernel, "use_liger_kernel", "Train without it."),
        (args.world_size > 1 and not args.average_tokens_across_devices,
         "average_tokens_across_devices", "Set it to True: a step's loss is then divided by what "
         "all processes hold."),
        (getattr(trainer.data_collator, "padding_free", False), "padding_free", "Pack with "
         "packing_strategy='wrapped', or pad: joined texts have no rows of their own."),
    )  # fmt: skip
    rates = sorted({float(m.p) for m in model.modules() if isinstance(m, _DropoutNd) and m.p > 0})
    found = [
        (f"TrainingArguments.{name}", value, remedy) for value, name, remedy in checks if value
    ]
    if rates:
        remedy = "Train with_recorded_dropout(model), or set the rates of its configuration to 0."
        found.append((f"model {type(model).__name__}: dropout", rates, remedy))
    for where, value, remedy in found:
        raise UnsupportedError(
            where, expected="what a stage log can hold", found=value, remedy=remedy
        )


def _shifts_count(trainer: Any) -> bool:  # noqa: ANN401 - as above
    return bool(getattr(trainer, "_loss_shifts_labels", False))


def is_a(trainer: object, name: str) -> bool:
    """Say whether a trainer is of a class of that name, which need not be installed."""
    return name in {kind.__name__ for kind in type(trainer).__mro__}


def _loss_of(trainer: Any, model: nn.Module) -> Loss:  # noqa: ANN401 - as above
    name = str(getattr(model, "loss_type", None) or type(model).__name__)
    smoothing = float(trainer.args.label_smoothing_factor)
    if is_a(trainer, "DPOTrainer"):
        return preference_loss_of(trainer)
    if is_a(trainer, "SFTTrainer") and trainer.args.loss_type != "nll":
        name = f"{name}, loss_type {trainer.args.loss_type}"
    if trainer.compute_loss_func is None:
        if name == "ForSequenceClassification" or name.endswith("ForSequenceClassification"):
            return _classifier_loss(model, smoothing=smoothing)
        if smoothing == 0 and name.endswith(("ForCausalLM", "LMHeadModel")):
            return declared_loss("causal_lm")
        if smoothing == 0 and name.endswith(("ForTokenClassification", "ForMaskedLM")):
            return _TOKENS
    raise UnsupportedError(
        f"trainer of {type(model).__name__}",
        expected="a model whose loss is known: a causal or masked language model, a classifier "
        "of texts or tokens; label smoothing for classifiers of texts only",
        found=f"{name}, compute_loss_func {trainer.compute_loss_func}, smoothing {smoothing}",
        remedy="Say what is minimised: record_trainer(..., loss=Loss(...)).",
    )


def _classifier_loss(model: nn.Module, *, smoothing: float) -> Loss:
    config: Any = model.config
    problem = config.problem_type
    if problem == "regression" or (problem is None and config.num_labels == 1):
        return Loss(kind="mse")
    if problem == "multi_label_classification":
        return Loss(kind="binary_cross_entropy_with_logits")
    return Loss(kind="cross_entropy", label_smoothing=smoothing)


def _divides_by_count(model: nn.Module, loss: Loss, *, sample: Mapping[str, Tensor] | None) -> bool:
    """Say whether the model's loss halves when it is told of twice as many items."""
    if sample is None:
        return loss.kind == "causal_lm"
    device = next(model.parameters()).device
    inputs = {name: values.to(device) for name, values in sample.items()}
    with torch.no_grad():
        one, two = (model(**inputs, num_items_in_batch=count)["loss"] for count in (1, 2))
    return bool(torch.isclose(one, 2 * two) and not torch.equal(one, two))
