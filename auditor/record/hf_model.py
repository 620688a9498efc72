"""Export a Hugging Face model folder; needs ``[huggingface]``. Nothing in the folder is executed.

The class comes from the transformers library by the name in ``config.json``; code that a folder
brings along is refused, and weights are read by the library from safetensors, or from a pickle by
torch's weights-only unpickler.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from auditor.checks import needs_extra
from auditor.errors import InputError, ShapeError, UnsupportedError
from auditor.record.exported_model import ExportedModel, ModelTask, export_model
from auditor.record.hf_config import HfConfig, read_hf_config
from auditor.record.hf_images import PIXELS, example_pixels
from auditor.record.hf_names import stored_names
from auditor.record.saved_state import ADAPTER_CONFIG

if TYPE_CHECKING:
    from transformers import PreTrainedModel

EXAMPLES = 2
OnProgress = Callable[[str], None]


def export_hf_model(
    folder: Path, out: Path, *, length: int, on_progress: OnProgress = lambda _: None
) -> ExportedModel:
    """Return the exported form of a model folder, written to ``out``.

    The model is loaded in evaluation mode with eager attention and exported by
    :func:`auditor.record.export.export_graph`; half-precision weights are widened to float32,
    which is exact. Its inputs are token ids and their mask, [B, length]; of a model of images they
    are its pixel values, [B, C, H, W].

    Args:
        folder: Has ``config.json`` and weights.
        out: Receives what :func:`auditor.record.exported_model.export_model` writes.
        length: Tokens of every example; of a model of images it means nothing.
        on_progress: Told what is being done.

    Raises:
        UnsupportedError: If the architecture is not treated, is quantised or brings its own code.
        InputError: If the folder holds no such model.
        PreconditionError: If transformers is not installed.
    """
    config = read_hf_config(folder)
    _refuse_adapter(folder)
    on_progress("loading transformers")
    transformers = _transformers()
    model_class = _model_class(transformers, config, folder=folder)
    on_progress(f"loading {config.architecture}")
    model = _loaded(model_class, config, folder=folder)
    if config.takes_images:
        inputs, module = {PIXELS: example_pixels(config, folder)}, _of_pixels(model)
    else:
        _require_length(model, length)
        inputs = _example_inputs(model, config, length=length)
        module = _returning_logits(model, len(inputs))
    on_progress("exporting the graph")
    prefix = str(getattr(model, "base_model_prefix", ""))
    return export_model(
        out,
        module,
        tuple(inputs.values()),
        input_names=tuple(inputs),
        task=config.task,
        prefix=f"{prefix}." if prefix else "",
        renamed=stored_names(model, folder),
        architecture=config.architecture,
    )


def _refuse_adapter(folder: Path) -> None:
    """Refuse a folder that the library would complete with a model from elsewhere."""
    if (folder / ADAPTER_CONFIG).is_file():
        raise UnsupportedError(
            f"{folder.name}/{ADAPTER_CONFIG}",
            expected="the folder of a whole model",
            found="an adapter",
            remedy="Export the folder that it was trained on; `stageaudit log import` merges the "
            "adapter into that model's weights.",
        )


def _transformers() -> ModuleType:
    # Exported models need no image library, and one built for another torch fails to be imported.
    sys.modules.setdefault("torchvision", cast(ModuleType, None))
    with needs_extra("huggingface", purpose="exporting a Hugging Face folder"):
        import transformers  # noqa: PLC0415 - an extra
    quiet: Any = transformers.logging
    quiet.set_verbosity_error()
    quiet.disable_progress_bar()
    return transformers


def _model_class(
    transformers: ModuleType, config: HfConfig, *, folder: Path
) -> "type[PreTrainedModel]":
    found = getattr(transformers, config.architecture, None)
    if not (isinstance(found, type) and issubclass(found, transformers.PreTrainedModel)):
        raise UnsupportedError(
            f"{folder.name}/config.json: architectures",
            expected="a class of the installed transformers library",
            found=config.architecture,
            remedy="Upgrade transformers, or export the module yourself with "
            "auditor.record.exported_model.export_model.",
        )
    return found


def _loaded(
    model_class: "type[PreTrainedModel]", config: HfConfig, *, folder: Path
) -> "PreTrainedModel":
    loader: Any = model_class
    try:
        model, info = loader.from_pretrained(
            str(folder),
            local_files_only=True,
            attn_implementation="eager",
            dtype=torch.float64 if config.dtype == "float64" else torch.float32,
            output_loading_info=True,
        )
    except Exception as error:  # whatever the library finds wrong with the folder
        raise InputError(
            str(folder),
            expected="a model that transformers loads with eager attention",
            found=" ".join(str(error).split()),
            remedy="Save it again with model.save_pretrained(FOLDER).",
        ) from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise InputError(
            f"{folder.name}: {missing[0]}",
            expected="every parameter of the model in its files",
            found=f"{len(missing)} missing, which transformers would fill at random",
            remedy="Save the whole model with model.save_pretrained(FOLDER).",
        )
    loaded: PreTrainedModel = model.eval()
    return loaded


def _require_length(model: "PreTrainedModel", length: int) -> None:
    limit = getattr(model.config, "max_position_embeddings", None)
    if isinstance(limit, int) and length > limit:
        raise ShapeError(
            "length",
            expected=f"at most {limit} tokens, the model's positions",
            found=length,
            remedy=f"Pass --length {limit}, and cut the texts.",
        )


def _example_inputs(
    model: "PreTrainedModel", config: HfConfig, *, length: int
) -> dict[str, Tensor]:
    """Return token ids that differ, and masks of whole and of cut texts, [2, length]."""
    size = int(model.config.vocab_size)
    ids = (torch.arange(EXAMPLES * length) * 7 + 3).remainder(size).reshape(EXAMPLES, length)
    mask = torch.ones_like(ids)
    mask[1:, (length + 1) // 2 :] = 0
    inputs = {"input_ids": ids, "attention_mask": mask}
    if getattr(model.config, "type_vocab_size", 0) > 1 and config.task == "classification":
        inputs["token_type_ids"] = (ids > size // 2).long()
    return inputs


def _returning_logits(model: "PreTrainedModel", inputs: int) -> nn.Module:
    """Return the model as a module of tensors by position; its parameters keep their names."""
    own: Any = type(model)
    caching = {"use_cache": False} if getattr(model.config, "use_cache", None) is not None else {}

    def forward(self: nn.Module, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        found = own.forward(
            self, input_ids=input_ids, attention_mask=attention_mask, return_dict=True, **caching
        )
        return cast(Tensor, found.logits)

    def forward_with_segments(  # noqa: PLR0917 - the exporter passes inputs by position
        self: nn.Module, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor
    ) -> Tensor:
        found = own.forward(
            self,
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            return_dict=True,
            **caching,
        )
        return cast(Tensor, found.logits)

    chosen = forward if inputs == 2 else forward_with_segments
    model.__class__ = type(own.__name__, (own,), {"forward": chosen})
    return model


def _of_pixels(model: "PreTrainedModel") -> nn.Module:
    """Return a model of images as a module of one tensor; its parameters keep their names."""
    own: Any = type(model)

    def forward(self: nn.Module, pixel_values: Tensor) -> Tensor:
        found = own.forward(self, pixel_values=pixel_values, return_dict=True)
        return cast(Tensor, found.logits)

    model.__class__ = type(own.__name__, (own,), {"forward": forward})
    return model


__all__ = ["ModelTask", "export_hf_model"]
