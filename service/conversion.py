"""Pickled checkpoints become plain values, on the user's machine, in a child with limits.

The child reads tensors, numbers, texts, lists and dictionaries with torch's weights-only
unpickler and refuses everything else; what it found comes back as JSON and safetensors. The
service has no part in this: it never opens a pickle.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from auditor.errors import InternalError
from auditor.model.tensors import read_tensors
from auditor.record.pickled import ForeignValue
from service.child_process import run_job

READ_BYTES_PER_SECOND = 20_000_000
START_SECONDS = 120.0
"""A child gets this long, and more for its file."""

TENSORS_FILE, TREE_FILE = "tensors.safetensors", "tree.json"


def read_pickled(path: Path) -> object:
    """Return the content of a pickled checkpoint as plain values and tensors.

    Args:
        path: A file that ``torch.save`` wrote.

    Returns:
        Dictionaries, lists, numbers, texts, booleans, None and tensors; anything else that is
        harmless stands as a :class:`auditor.record.pickled.ForeignValue`.

    Raises:
        UnsupportedError: If the file holds anything but that; nothing of it was run.
        InputError: If it is no such file.
        ResourceError: If reading it takes more memory or time than its size warrants.
    """
    size = path.stat().st_size
    with TemporaryDirectory(prefix="stageaudit-convert-") as folder:
        run_job(
            "service.conversion_child",
            {"path": str(path.resolve()), "out": folder},
            what=path.name,
            seconds=START_SECONDS + size / READ_BYTES_PER_SECOND,
            environment={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        tensors = read_tensors((Path(folder) / TENSORS_FILE).read_bytes(), where=path.name)
        tree = json.loads((Path(folder) / TREE_FILE).read_bytes())
    return _decoded(tree, tensors)


def _decoded(tree: dict[str, Any], tensors: dict[str, Any]) -> object:
    """Return the values that a tree of ``service.conversion_child`` stands for."""
    ((kind, content),) = tree.items()
    match kind:
        case "mapping":
            return {key: _decoded(value, tensors) for key, value in content}
        case "list":
            return [_decoded(value, tensors) for value in content]
        case "value":
            return content
        case "tensor":
            return tensors[content]
        case "foreign":
            return ForeignValue(content)
        case _:
            raise InternalError(
                "converted checkpoint",
                expected="a known kind of value",
                found=kind,
                remedy="Report this as a bug.",
            )
