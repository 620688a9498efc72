"""The conversion child: opens one pickled checkpoint under limits, and runs nothing of it.

Started by :mod:`service.conversion` as a program of its own. torch is imported first, then the
limits are set, then the file is opened, by torch's weights-only unpickler.
"""

import errno
import json
import os
import re
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from auditor.errors import AuditorError, InputError, UnsupportedError
from auditor.model.tensors import DTYPES, write_tensors
from service.failures import failure_of

MEMORY_PER_BYTE = 4
"""The file, its tensors, and the copy that is written."""
MEMORY_BYTES = 2**30
CPU_SECONDS = 120
READ_BYTES_PER_SECOND = 20_000_000
OPEN_FILES = 64
NESTING = 50
VALUES = 10**6

_REFUSED_GLOBAL = re.compile(r"(?:Unsupported global: GLOBAL|GLOBAL|Unsupported class) `?([\w.]+)")

Plain = dict[str, Any]


def set_limits(*, file_bytes: int) -> None:
    """Bound what this process may still use; cannot be undone."""
    own = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    space = own + MEMORY_BYTES + MEMORY_PER_BYTE * file_bytes
    written = MEMORY_BYTES + 2 * file_bytes
    seconds = CPU_SECONDS + file_bytes // READ_BYTES_PER_SECOND
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (space, space))
    resource.setrlimit(resource.RLIMIT_FSIZE, (written, written))
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write fails with EFBIG instead


def convert(path: Path, out: Path) -> None:
    """Write the content of a pickled checkpoint as a tree of values and a file of tensors.

    Raises:
        UnsupportedError: If it holds more than tensors and plain values.
        InputError: If it cannot be read.
    """
    tensors: dict[str, Tensor] = {}
    tree = _Encoder(tensors).encode(_load(path))
    (out / "tensors.safetensors").write_bytes(write_tensors(tensors))
    (out / "tree.json").write_text(json.dumps(tree))


def _load(path: Path) -> object:
    try:
        # weights_only: the unpickler knows tensors and plain values, and refuses any other name.
        return torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251
    except MemoryError:
        raise
    except Exception as error:
        if isinstance(error, RuntimeError) and "alloc" in str(error):
            raise MemoryError from error
        named = _REFUSED_GLOBAL.search(str(error))
        if named is None:
            raise InputError(
                path.name,
                expected="a checkpoint that torch.save wrote",
                found=f"{type(error).__name__}: {' '.join(str(error).split())}",
                remedy="Save the state dictionary again, with torch.save or as safetensors.",
            ) from error
        raise UnsupportedError(
            path.name,
            expected="a pickle of tensors, numbers, texts, lists and dictionaries",
            found=f"a reference to {named[1]}, which was not run",
            remedy="If you trust the file, load it where it was made and save its state "
            "dictionary alone: safetensors.torch.save_file(model.state_dict(), FILE).",
        ) from error


class _Encoder:
    """Turns a nested value into JSON, its tensors put aside under numbers."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self._tensors = tensors
        self._values = 0

    def encode(self, value: object, *, depth: int = 0) -> Plain:
        self._values += 1
        if depth > NESTING or self._values > VALUES:
            raise InputError(
                "checkpoint",
                expected=f"at most {VALUES} values, nested at most {NESTING} deep",
                found="more",
                remedy="Save the state dictionary alone.",
            )
        match value:
            case Tensor():
                return self._tensor(value)
            case dict():
                return {
                    "mapping": [
                        [str(key), self.encode(item, depth=depth + 1)]
                        for key, item in value.items()
                    ]
                }
            case list() | tuple():
                return {"list": [self.encode(item, depth=depth + 1) for item in value]}
            case None | bool() | int() | float() | str():
                return {"value": value}
            case _:
                return {"foreign": type(value).__name__}

    def _tensor(self, tensor: Tensor) -> Plain:
        if tensor.layout is not torch.strided or tensor.dtype not in set(DTYPES.values()):
            kind = f"{tensor.layout} {tensor.dtype}".replace("torch.", "")
            return {"foreign": f"tensor of {kind}"}
        name = str(len(self._tensors))
        self._tensors[name] = tensor
        return {"tensor": name}


def answer(job: Plain) -> Plain:
    """Do the job; typed errors and limits that were met are answers too."""
    path = Path(job["path"])
    set_limits(file_bytes=path.stat().st_size)
    try:
        convert(path, Path(job["out"]))
    except AuditorError as error:
        return {"error": failure_of(error).to_plain()}
    except MemoryError:
        return {"limit": "memory"}
    except OSError as error:
        if error.errno in {errno.ENOMEM, errno.EFBIG}:
            return {"limit": "memory"}
        raise
    except RuntimeError as error:  # torch's allocator raises no MemoryError
        if "alloc" in str(error):
            return {"limit": "memory"}
        raise
    return {"ok": {}}


def main() -> None:
    """Read the job from stdin, answer on stdout."""
    # Whatever a library prints must not look like an answer.
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        answers.write(json.dumps(answer(json.loads(sys.stdin.readline()))) + "\n")
