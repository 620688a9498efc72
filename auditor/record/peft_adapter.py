"""Merge a PEFT adapter into the weights that it was trained on; peft is not needed."""

from collections.abc import Mapping
from math import sqrt
from typing import Any

from torch import Tensor

from auditor.errors import InputError, ShapeError, UnsupportedError
from auditor.record.saved_state import SavedState

_PREFIX = "base_model.model."
_PLAIN = (
    "use_dora", "rank_pattern", "alpha_pattern", "layer_replication", "trainable_token_indices",
    "lora_bias", "target_parameters", "alora_invocation_tokens", "use_qalora", "use_bdlora",
    "arrow_config", "kasa_config", "monteclora_config", "velora_config",
)  # fmt: skip
"""Options that change the arithmetic; only their empty values are treated."""


def merged_weights(base: Mapping[str, Tensor], adapter: SavedState) -> dict[str, Tensor]:
    r"""Return the weights with a LoRA adapter added: W + (alpha / r) B A.

    With ``use_rslora`` the factor is alpha / sqrt(r); with ``fan_in_fan_out`` the product is
    transposed; an embedding gets (B A)^T. Modules that were saved whole replace those of the base.

    Args:
        base: Weights by name, float.
        adapter: As :func:`auditor.record.saved_state.read_saved_state` returns it.

    Raises:
        UnsupportedError: If it is another kind of adapter, or uses an option that is not treated.
        InputError: If it does not fit the base.

    References:
        Hu et al. (2021), arXiv 2106.09685, equation 3.
    """
    config, where = adapter.adapter, adapter.path.name
    _require_plain_lora(config, where=where)
    merged = dict(base)
    left = {name.removeprefix(_PREFIX): tensor for name, tensor in adapter.tensors.items()}
    modules = sorted({name.partition(".lora_")[0] for name in left if ".lora_" in name})
    for module in modules:
        target = f"{module}.weight"
        if target not in merged:
            raise _no_base(where, target)
        embedding = f"{module}.lora_embedding_A" in left
        ending = ("lora_embedding_A", "lora_embedding_B") if embedding else (
            "lora_A.weight", "lora_B.weight"
        )  # fmt: skip
        down, up = (left.pop(f"{module}.{part}", None) for part in ending)
        if down is None or up is None or down.dim() != 2:
            raise UnsupportedError(
                f"{where}: {module}",
                expected="the two matrices of a LoRA layer",
                found="others, such as those of a convolution",
                remedy=_MERGE,
            )
        delta = _scale(config) * (up.to(merged[target].dtype) @ down.to(merged[target].dtype))
        if embedding or config.get("fan_in_fan_out"):
            delta = delta.T
        if delta.shape != merged[target].shape:
            raise _other_shape(where, target, found=delta.shape, expected=merged[target].shape)
        merged[target] = merged[target] + delta
    for name, tensor in left.items():
        plain = name.replace(".modules_to_save.default.", ".").replace(".modules_to_save.", ".")
        if plain not in merged:
            raise _no_base(where, plain)
        if tensor.shape != merged[plain].shape:
            raise _other_shape(where, plain, found=tensor.shape, expected=merged[plain].shape)
        merged[plain] = tensor.to(merged[plain].dtype)
    return merged


_MERGE = (
    "Merge it where it was trained, model.merge_and_unload().save_pretrained(FOLDER), and import "
    "that folder."
)


def _require_plain_lora(config: Mapping[str, Any], *, where: str) -> None:
    kind = config.get("peft_type")
    rank = config.get("r")
    if kind != "LORA" or not isinstance(rank, int) or rank < 1:
        raise UnsupportedError(
            f"{where}/adapter_config.json: peft_type",
            expected="LORA with a rank",
            found=kind,
            remedy=_MERGE,
        )
    for option in _PLAIN:
        if config.get(option):
            raise UnsupportedError(
                f"{where}/adapter_config.json: {option}",
                expected="nothing",
                found=config[option],
                remedy=_MERGE,
            )


def _scale(config: Mapping[str, Any]) -> float:
    rank, alpha = int(config["r"]), float(config.get("lora_alpha") or 8)
    return alpha / sqrt(rank) if config.get("use_rslora") else alpha / rank


def _no_base(where: str, name: str) -> InputError:
    return InputError(
        f"{where}: {name}",
        expected="a weight of the checkpoint before the adapter",
        found="none of this name",
        remedy="Name the folder that the adapter was trained on before it.",
    )


def _other_shape(where: str, name: str, *, found: object, expected: object) -> ShapeError:
    return ShapeError(
        f"{where}: {name}",
        expected=f"a change of shape {expected}, as the checkpoint before the adapter has it",
        found=found,
        remedy="Name the folder that the adapter was trained on before it.",
    )
