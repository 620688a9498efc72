"""Preference pairs and their loss, as TRL's ``DPOTrainer`` has them; needs ``[trl]``."""

from typing import Any

import torch
from torch import Tensor

from auditor.errors import UnsupportedError
from auditor.record.adapters.rows import Collator
from auditor.stagelog.log import Loss
from auditor.stagelog.reduction import IGNORED_LABEL


def preference_loss_of(trainer: Any) -> Loss:  # noqa: ANN401 - an optional library's class
    """Return the loss of a ``DPOTrainer``, whose reference is the model that it starts from.

    Raises:
        UnsupportedError: If it is another preference loss than the original one.
    """
    args = trainer.args
    kinds = [args.loss_type] if isinstance(args.loss_type, str) else list(args.loss_type)
    others = {
        "loss_type": kinds != ["sigmoid"] and kinds,
        "f_divergence_type": str(args.f_divergence_type).rpartition(".")[2].lower()
        not in {"reverse_kl"}
        and args.f_divergence_type,
        "ld_alpha": args.ld_alpha,
        "use_weighting": args.use_weighting,
        "sync_ref_model": args.sync_ref_model,
        "label_smoothing": args.label_smoothing >= 1 / 2 and args.label_smoothing,
    }
    for name, value in others.items():
        if value:
            raise UnsupportedError(
                f"DPOConfig.{name}",
                expected="the loss of Rafailov et al. (2023): sigmoid, reverse KL, a reference "
                "that stays",
                found=value,
                remedy="Leave it at its default.",
            )
    return Loss(
        kind="dpo",
        beta=float(args.beta),
        label_smoothing=float(args.label_smoothing),
        ignore_index=IGNORED_LABEL,
        reference="stage_start",
    )


def pairing(collate: Collator) -> Collator:
    """Return a collator whose examples are pairs: chosen text, then rejected one, [B, 2, T].

    Args:
        collate: TRL's, which puts all chosen texts before all rejected ones, [2 B, T].
    """

    def paired(items: list[Any]) -> dict[str, Tensor]:
        batch = collate(items)
        ids, mask = batch["input_ids"], batch["attention_mask"]
        labels = ids.masked_fill(batch["completion_mask"] == 0, IGNORED_LABEL)
        columns = {"input_ids": ids, "attention_mask": mask, "labels": labels}
        return {name: torch.stack(values.chunk(2), dim=1) for name, values in columns.items()}

    return paired
