"""Names under which transformers stores parameters, where they are not those of the module."""

from pathlib import Path
from typing import Any

from safetensors import safe_open


def stored_names(model: Any, folder: Path) -> dict[str, str]:  # noqa: ANN401 - an optional library's class
    """Return the module's name of each tensor of a folder that is stored under another one.

    The library keeps the names that older releases of a model had, and renames while it loads.
    Where it merges or splits tensors on the way, nothing is returned: the import then names what is
    missing.

    Args:
        model: As ``from_pretrained(folder)`` returned it.
        folder: Has safetensors files.
    """
    steps = list(getattr(model, "_weight_conversions", None) or ())
    if not steps or any(type(step).__name__ != "WeightRenaming" for step in steps):
        return {}
    try:
        from transformers.core_model_loading import rename_source_key  # noqa: PLC0415 - an extra
    except ImportError:
        return {}  # a release that renames otherwise
    state = model.state_dict()
    found = {
        name: rename_source_key(name, steps, [], model.base_model_prefix, state)[0]
        for name in _names(folder)
    }
    return {name: new for name, new in found.items() if new != name and new in state}


def _names(folder: Path) -> list[str]:
    names: list[str] = []
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="numpy") as file:
            names.extend(file.keys())
    return names
