"""What ``config.json`` of a Hugging Face folder says that an import needs; no transformers."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from auditor.errors import InputError, UnsupportedError
from auditor.record.exported_model import ModelTask
from auditor.record.text_evalset import DEFAULT_LENGTH
from auditor.record.text_tokenizer import read_json_object

CONFIG_FILE = "config.json"

IMAGES = "ForImageClassification"
"""How classes of models end that take images and no texts."""

_TASKS: tuple[tuple[str, ModelTask], ...] = (
    ("ForSequenceClassification", "classification"),
    ("ForCausalLM", "language"),
    ("LMHeadModel", "language"),
    (IMAGES, "classification"),
)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class HfConfig:
    """A model's configuration.

    Attributes:
        architecture: Name of its class.
        task: What its outputs are.
        classes: Class by its name.
        dtype: Of its weights, if the file says so.
        plain: All of the file.
    """

    architecture: str
    task: ModelTask
    classes: dict[str, int] = field(default_factory=dict)
    dtype: str | None = None
    plain: dict[str, Any]

    @property
    def takes_images(self) -> bool:
        """Whether the model's input is ``pixel_values``."""
        return self.architecture.endswith(IMAGES)


def read_hf_config(folder: Path) -> HfConfig:
    """Return the configuration of a model folder.

    Raises:
        InputError: If there is none.
        UnsupportedError: If the model is quantised, brings its own code, or is of another kind
            than a classifier of texts or of images, or a causal language model.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise InputError(
            str(folder),
            expected=f"a {CONFIG_FILE}",
            found="none",
            remedy="Pass the folder that model.save_pretrained(FOLDER) wrote.",
        )
    plain = read_json_object(path)
    where = f"{folder.name}/{CONFIG_FILE}"
    refuse_quantised(plain, where=where)
    if "auto_map" in plain:
        raise UnsupportedError(
            f"{where}: auto_map",
            expected="a model class of the transformers library",
            found="code in the folder, which is never run",
            remedy="Export the module yourself with auditor.record.exported_model.export_model.",
        )
    names = plain.get("architectures")
    name = names[0] if isinstance(names, list) and names else None
    task = next((task for ending, task in _TASKS if str(name).endswith(ending)), None)
    if not isinstance(name, str) or task is None:
        raise UnsupportedError(
            f"{where}: architectures",
            expected="a class ending in " + ", ".join(ending for ending, _ in _TASKS),
            found=name,
            remedy="Save the model with the head that it is used with; or export the module "
            "yourself with auditor.record.exported_model.export_model.",
        )
    dtype = plain.get("dtype", plain.get("torch_dtype"))
    return HfConfig(
        architecture=name,
        task=task,
        classes=_classes(plain),
        dtype=dtype if isinstance(dtype, str) else None,
        plain=plain,
    )


def refuse_quantised(plain: dict[str, Any], *, where: str) -> None:
    """Refuse a quantised checkpoint by the name of its method.

    Raises:
        UnsupportedError: If the configuration says how it was quantised.
    """
    quantised = plain.get("quantization_config")
    if quantised:
        method = quantised.get("quant_method") if isinstance(quantised, dict) else quantised
        raise UnsupportedError(
            f"{where}: quantization_config",
            expected="weights in float32, float16, bfloat16 or float64",
            found=f"weights quantised by {method}",
            remedy="Import the checkpoint as it was trained, before it was quantised; or "
            "dequantise it with model.dequantize() and save it again.",
        )


def _classes(plain: dict[str, Any]) -> dict[str, int]:
    found = plain.get("label2id")
    if not isinstance(found, dict):
        return {}
    return {
        name: number
        for name, number in found.items()
        if isinstance(name, str) and isinstance(number, int)
    }


def default_length(config: HfConfig) -> int:
    """Return the tokens of an example where nobody says: the model's positions, at most 512."""
    found = [config.plain.get(name) for name in ("max_position_embeddings", "n_positions")]
    limit = next((size for size in found if isinstance(size, int) and size > 0), DEFAULT_LENGTH)
    return min(limit, DEFAULT_LENGTH)
