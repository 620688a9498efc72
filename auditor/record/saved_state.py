"""The tensors of a saved model, by name, from whatever file or folder holds them.

Safetensors are read directly, whole or in shards. Pickled files go through the reader that the
caller passes, which must not run what is in them.
"""

import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, final

from torch import Tensor

from auditor.errors import InputError, UnsupportedError
from auditor.model.tensors import read_tensors
from auditor.record.hf_config import CONFIG_FILE, refuse_quantised
from auditor.record.pickled import ForeignValue, PickleReader
from auditor.record.text_tokenizer import read_json_object

SAFETENSORS = "model.safetensors"
PICKLED = "pytorch_model.bin"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_PICKLED = "adapter_model.bin"
PICKLED_SUFFIXES = frozenset({".ckpt", ".pt", ".pth", ".bin"})
_WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Where people put a state dictionary in a checkpoint of their own."""

SavedForm = Literal["safetensors", "hugging face", "adapter", "lightning", "state dictionary"]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class SavedState:
    """What a path holds.

    Attributes:
        path: The file or folder.
        form: How it was saved.
        tensors: By the names in the file.
        step: Optimizer steps until then, if the file says so.
        adapter: Content of ``adapter_config.json``, for an adapter.
    """

    path: Path
    form: SavedForm
    tensors: Mapping[str, Tensor]
    step: int | None = None
    adapter: Mapping[str, Any] = field(default_factory=dict)


def read_saved_state(path: Path, *, read_pickle: PickleReader) -> SavedState:
    """Return the tensors at a path.

    Args:
        path: A Hugging Face or adapter folder, or a file ending in .safetensors, .ckpt, .pt, .pth
            or .bin.
        read_pickle: Reads pickled files.

    Raises:
        InputError: If there is nothing of the kind, or a shard is missing.
        UnsupportedError: If the model is quantised, or a pickle holds more than plain values.
    """
    if path.is_dir():
        return _folder(path, read_pickle=read_pickle)
    if path.suffix == ".safetensors":
        return SavedState(path=path, form="safetensors", tensors=_safetensors(path))
    if path.suffix in PICKLED_SUFFIXES and path.is_file():
        return _pickled_file(path, read_pickle=read_pickle)
    if path.suffix == ".gguf":
        raise UnsupportedError(
            str(path),
            expected="weights as they were trained",
            found="a GGUF file, whose weights are quantised or converted for inference",
            remedy="Import the checkpoint that it was converted from.",
        )
    raise InputError(
        str(path),
        expected="a model folder, or a file ending in .safetensors, .ckpt, .pt, .pth or .bin",
        found="nothing there" if not path.exists() else path.name,
        remedy="Check the path.",
    )


def _folder(folder: Path, *, read_pickle: PickleReader) -> SavedState:
    if (folder / ADAPTER_CONFIG).is_file():
        return _adapter(folder, read_pickle=read_pickle)
    if (folder / CONFIG_FILE).is_file():
        refuse_quantised(
            read_json_object(folder / CONFIG_FILE), where=f"{folder.name}/{CONFIG_FILE}"
        )
    tensors = _weights(folder, read_pickle=read_pickle)
    if tensors is None:
        steps = sorted(part.name for part in folder.glob("checkpoint-*") if part.is_dir())
        raise InputError(
            str(folder),
            expected=f"{SAFETENSORS}, {PICKLED} or the index of its shards",
            found="checkpoints " + ", ".join(steps) if steps else "none of them",
            remedy=f"Pass one of them, such as {folder / steps[-1]}."
            if steps
            else "Pass the folder that model.save_pretrained(FOLDER) wrote, or a weights file.",
        )
    return SavedState(path=folder, form="hugging face", tensors=tensors)


def _weights(folder: Path, *, read_pickle: PickleReader) -> dict[str, Tensor] | None:
    """Return the weights of a folder, safetensors before pickles; None if it has none."""
    if (folder / SAFETENSORS).is_file():
        return _safetensors(folder / SAFETENSORS)
    if (folder / f"{SAFETENSORS}.index.json").is_file():
        parts = list(_shards(folder, f"{SAFETENSORS}.index.json"))
        return _merged([(part, _safetensors(part)) for part in parts])
    if (folder / PICKLED).is_file():
        return _tensors_of(read_pickle(folder / PICKLED), path=folder / PICKLED)
    if (folder / f"{PICKLED}.index.json").is_file():
        parts = list(_shards(folder, f"{PICKLED}.index.json"))
        return _merged([(part, _tensors_of(read_pickle(part), path=part)) for part in parts])
    return None


def _shards(folder: Path, index: str) -> Iterator[Path]:
    """Yield the files that an index names; names that lead out of the folder are refused."""
    files = read_json_object(folder / index).get("weight_map")
    names = sorted({str(name) for name in files.values()}) if isinstance(files, dict) else []
    if not names:
        raise InputError(
            f"{folder.name}/{index}: weight_map",
            expected="a file for each tensor",
            found=files,
            remedy="Save the model again.",
        )
    for name in names:
        if Path(name).name != name or not (folder / name).is_file():
            raise InputError(
                f"{folder.name}/{index}: weight_map",
                expected="files in the same folder",
                found=name,
                remedy="Copy the missing shard, or save the model again.",
            )
        yield folder / name


def _merged(parts: list[tuple[Path, dict[str, Tensor]]]) -> dict[str, Tensor]:
    merged: dict[str, Tensor] = {}
    for path, tensors in parts:
        twice = sorted(merged.keys() & tensors.keys())
        if twice:
            raise InputError(
                f"{path.name}: {twice[0]}",
                expected="each tensor in one shard",
                found="the same name in another shard",
                remedy="Save the model again.",
            )
        merged |= tensors
    return merged


def _adapter(folder: Path, *, read_pickle: PickleReader) -> SavedState:
    if (folder / ADAPTER_WEIGHTS).is_file():
        tensors = _safetensors(folder / ADAPTER_WEIGHTS)
    elif (folder / ADAPTER_PICKLED).is_file():
        path = folder / ADAPTER_PICKLED
        tensors = _tensors_of(read_pickle(path), path=path)
    else:
        raise InputError(
            str(folder),
            expected=f"{ADAPTER_WEIGHTS} beside {ADAPTER_CONFIG}",
            found="none",
            remedy="Save the adapter with model.save_pretrained(FOLDER).",
        )
    return SavedState(
        path=folder,
        form="adapter",
        tensors=tensors,
        adapter=read_json_object(folder / ADAPTER_CONFIG),
    )


def _pickled_file(path: Path, *, read_pickle: PickleReader) -> SavedState:
    content = read_pickle(path)
    if not isinstance(content, dict):
        raise _no_state(path, type(content).__name__)
    lightning = "state_dict" in content and "pytorch-lightning_version" in content
    step = content.get("global_step")
    inner: object = content
    for name in _WRAPPERS:
        if isinstance(content.get(name), dict):
            inner = content[name]
            break
    return SavedState(
        path=path,
        form="lightning" if lightning else "state dictionary",
        tensors=_tensors_of(inner, path=path),
        step=step if isinstance(step, int) and step > 0 else None,
    )


def _safetensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file() or path.stat().st_size == 0:
        raise InputError(
            str(path),
            expected="a safetensors file",
            found="nothing",
            remedy="Check the path, or save the model again.",
        )
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        view = memoryview(data)
        try:
            return read_tensors(view, where=path.name)
        finally:
            view.release()


def _tensors_of(content: object, *, path: Path) -> dict[str, Tensor]:
    """Return the state dictionary that a pickle holds."""
    if not isinstance(content, dict) or not content:
        raise _no_state(path, type(content).__name__)
    tensors: dict[str, Tensor] = {}
    for name, value in content.items():
        if isinstance(value, Tensor):
            tensors[name] = value
        elif isinstance(value, ForeignValue) and "tensor" in value.kind:
            raise UnsupportedError(
                f"{path.name}: {name}",
                expected="a dense tensor of a common dtype",
                found=value.kind,
                remedy="Import the checkpoint as it was trained, before it was quantised.",
            )
    if not tensors:
        raise _no_state(path, ", ".join(map(str, list(content)[:5])))
    return tensors


def _no_state(path: Path, found: str) -> InputError:
    return InputError(
        path.name,
        expected="a state dictionary of tensors by name, alone or under `state_dict`",
        found=found,
        remedy="Save it with torch.save(model.state_dict(), FILE).",
    )
