"""How a deployed model was made from the final checkpoint: declared, so it can be replayed."""

from typing import Annotated, Literal

from pydantic import Field

from auditor.stagelog.record import Name, Record


class MergeLora(Record):
    """Adapters were merged: W + scale B A for each pair; the adapters' tensors are gone.

    ``a``, ``b`` and ``base`` are the parts of the names of the two factors and of the layer that
    they adapt, as PEFT has them: ``layer.lora_A.default.weight`` [r, in],
    ``layer.lora_B.default.weight`` [out, r], ``layer.base_layer.weight`` (or ``layer.weight``).
    """

    kind: Literal["merge_lora"] = "merge_lora"
    scale: float
    a: Name = "lora_A"
    b: Name = "lora_B"
    base: Name = "base_layer"


class Cast(Record):
    """Floating-point tensors were rounded to another dtype."""

    kind: Literal["cast"] = "cast"
    dtype: Literal["float64", "float32", "bfloat16", "float16"]


class FoldBatchNorm(Record):
    """Batch norms were folded into the layers before them: layer -> norm, by module name."""

    kind: Literal["fold_batch_norm"] = "fold_batch_norm"
    pairs: Annotated[dict[Name, Name], Field(min_length=1)]
    eps: Annotated[float, Field(ge=0)] = 1e-5


class Rename(Record):
    """Names that begin with ``prefix`` begin with ``to`` instead."""

    kind: Literal["rename"] = "rename"
    prefix: Name
    to: Annotated[str, Field(max_length=128)] = ""


class SameValues(Record):
    """Nothing is known but that every query's value differs by at most ``tolerance``."""

    kind: Literal["same_values"] = "same_values"
    tolerance: Annotated[float, Field(gt=0)]


DerivationStep = Annotated[
    MergeLora | Cast | FoldBatchNorm | Rename | SameValues, Field(discriminator="kind")
]


def derivation_text(steps: tuple[DerivationStep, ...]) -> str:
    """Return the steps in words, in order."""
    return ", ".join(_text(step) for step in steps)


def _text(step: DerivationStep) -> str:
    match step:
        case MergeLora():
            return f"LoRA merged (scale {step.scale:g})"
        case Cast():
            return f"cast to {step.dtype}"
        case FoldBatchNorm():
            return f"{len(step.pairs)} batch norms folded"
        case Rename():
            return f"{step.prefix!r} renamed to {step.to!r}"
        case SameValues():
            return f"query values within {step.tolerance:g}"
