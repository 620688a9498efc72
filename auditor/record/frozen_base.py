"""A base model that many runs share: recorded by digest and place instead of by value."""

from dataclasses import dataclass
from pathlib import Path
from typing import final

from torch import nn

from auditor.edge.folder import map_file, write_durably
from auditor.errors import StageLogError
from auditor.model.tensors import read_tensors, write_tensors
from auditor.record.checkpoints import StoredState
from auditor.record.snapshot import copy_state, equal_tensors
from auditor.stagelog.digest import Digest, sha256
from auditor.stagelog.log import External


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class FrozenBase:
    """A safetensors file whose tensors have the names of the model's state dict.

    Attributes:
        file: The file.
        place: Where others find it, such as ``hf://organisation/model@revision``; by default its
            path.
    """

    file: Path
    place: str | None = None


def save_frozen_base(model: nn.Module, file: Path) -> None:
    """Write the parameters and buffers that are not trained, once for all runs that use them.

    Args:
        model: The model as it is going to be trained, its base frozen.
        file: Receives them as safetensors.
    """
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    frozen = {name: t for name, t in copy_state(model).items() if name not in trained}
    write_durably(file, write_tensors(frozen), mode=0o644)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ReadBase:
    """What a log needs of a base.

    Attributes:
        digest: Of the file.
        data: The file.
        stored: Its tensors, as a state that is stored already.
        entry: What the manifest says of it.
    """

    digest: Digest
    data: memoryview
    stored: StoredState
    entry: External


def read_frozen_base(base: FrozenBase, model: nn.Module) -> ReadBase:
    """Return the base as a stored state, and its entry in the manifest.

    Raises:
        StageLogError: If none of its tensors is one of the model's.
        InputError: If the file is no safetensors.
    """
    data = map_file(base.file)
    digest = sha256(data)
    tensors = read_tensors(data, where=str(base.file))
    own = copy_state(model)
    if not any(name in own and equal_tensors(own[name], t) for name, t in tensors.items()):
        raise StageLogError(
            str(base.file),
            expected="tensors by the names and with the values of the model's state dict",
            found=", ".join(sorted(tensors)[:3]) or "none",
            remedy="Write the file with auditor.record.frozen_base.save_frozen_base(model, file).",
        )
    stored = StoredState(tensors=tensors, owners=dict.fromkeys(tensors, digest), checkpoint=None)
    entry = External(place=base.place or str(base.file), size_bytes=len(data))
    return ReadBase(digest=digest, data=data, stored=stored, entry=entry)
