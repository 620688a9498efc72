"""The parse child: opens untrusted bytes under limits and says what they are.

Started by :mod:`service.sandbox` as a program of its own. It sets its limits before it imports
anything that parses, never imports torch, writes no file, and answers one JSON line for each
JSON line it reads.
"""

import errno
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any, TextIO

from auditor.edge.folder import FolderBlobs
from auditor.errors import AuditorError, InputError
from auditor.stagelog.dataset import EvaluationSet
from auditor.stagelog.digest import Digest, canonical_bytes, sha256
from auditor.stagelog.log import StageLog
from service.failures import failure_of

OPEN_FILES = 64
OUT_OF_MEMORY = "memory"

Plain = dict[str, Any]


def set_limits(*, memory_bytes: int, mapped_bytes: int, cpu_seconds: int) -> None:
    """Bound what this process may use; cannot be undone.

    Args:
        memory_bytes: Private memory, and address space besides the blobs.
        mapped_bytes: Size of the blobs that will be mapped.
        cpu_seconds: Time on a processor.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    space = memory_bytes + mapped_bytes
    resource.setrlimit(resource.RLIMIT_AS, (space, space))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write fails with EFBIG instead


def describe_stage_log(blobs: FolderBlobs, digest: Digest) -> Plain:
    """Check a manifest alone and say which blobs it names."""
    log = _read_log(blobs, digest)
    return {
        "run": log.run.name,
        "stages": [stage.name for stage in log.stages],
        "steps": sum(stage.steps for stage in log.stages),
        "level": log.level,
        "blobs": log.blobs(),
    }


def check_stage_log_content(blobs: FolderBlobs, digest: Digest) -> Plain:
    """Check every blob of a log against its manifest."""
    from auditor.model.graph_state import require_log  # noqa: PLC0415 - parsers come after limits
    from auditor.model.onnx_graph import check_graph  # noqa: PLC0415
    from auditor.stagelog.content import check_content  # noqa: PLC0415

    log = _read_log(blobs, digest)
    check_content(log, blobs)
    graphs = {name: check_graph(blobs.read(Digest(g.onnx))) for name, g in log.graphs.items()}
    require_log(log, graphs)
    return {}


def measure_activations(blobs: FolderBlobs, digest: Digest) -> Plain:
    """Say how many bytes the results of a log's graphs take for one example."""
    from auditor.model.activations import example_activations  # noqa: PLC0415

    log = _read_log(blobs, digest)
    return dict(example_activations(log, lambda blob: blobs.read(Digest(blob))))


def describe_evaluation_set(blobs: FolderBlobs, digest: Digest) -> Plain:
    """Check the manifest of an evaluation set and say which blobs it names."""
    evaluation_set = _read_evaluation_set(blobs, digest)
    dataset = evaluation_set.dataset
    return {
        "name": evaluation_set.name,
        "examples": dataset.examples,
        "columns": list(dataset.columns),
        "blobs": [shard.digest for shard in dataset.shards],
    }


def check_evaluation_set_content(blobs: FolderBlobs, digest: Digest) -> Plain:
    """Check every shard of an evaluation set against its manifest."""
    from auditor.stagelog.content import check_evaluation_content  # noqa: PLC0415

    check_evaluation_content(_read_evaluation_set(blobs, digest), blobs)
    return {}


def describe_safetensors_model(blobs: FolderBlobs, digest: Digest) -> Plain:
    """Check a model artifact of tensors by name."""
    from auditor.model.safetensors_header import read_header  # noqa: PLC0415

    entries = read_header(blobs.read(digest), where="model")
    if not entries:
        raise InputError(
            "model", expected="tensors", found="none", remedy="Save the model's state dictionary."
        )
    elements = sum(prod(entry.shape) for entry in entries.values())
    return {"tensors": len(entries), "elements": elements}


def describe_onnx_model(blobs: FolderBlobs, digest: Digest) -> Plain:
    """Check a model artifact of a graph with its weights."""
    from auditor.model.limits import DEFAULT_LIMITS  # noqa: PLC0415
    from auditor.model.onnx_structure import check_structure, parse_model  # noqa: PLC0415

    model = parse_model(
        blobs.read(digest), largest=DEFAULT_LIMITS.model_bytes, limits=DEFAULT_LIMITS
    )
    check_structure(model, limits=DEFAULT_LIMITS)
    weights = model.graph.initializer
    if not weights:
        raise InputError(
            "model",
            expected="a graph with its weights",
            found="no initialisers",
            remedy="Export the model with its weights inside the file.",
        )
    return {
        "tensors": len(weights),
        "elements": sum(prod(tensor.dims) for tensor in weights),
    }


def check_metric_graph(blobs: FolderBlobs, digest: Digest) -> Plain:
    """Check that an ONNX graph is a metric (output, target) -> value."""
    from auditor.model.metric_form import check_metric  # noqa: PLC0415

    check_metric(blobs.read(digest), where="queries.metric")
    return {}


CHECKS: Mapping[str, Callable[[FolderBlobs, Digest], Plain]] = {
    "stage_log": describe_stage_log,
    "stage_log_content": check_stage_log_content,
    "activations": measure_activations,
    "evaluation_set": describe_evaluation_set,
    "evaluation_set_content": check_evaluation_set_content,
    "safetensors": describe_safetensors_model,
    "onnx": describe_onnx_model,
    "metric": check_metric_graph,
}


def answer(line: str, *, blobs: FolderBlobs) -> Plain:
    """Run the check that a request names; typed errors are answers too."""
    request = json.loads(line)
    try:
        return {"ok": CHECKS[request["check"]](blobs, Digest(request["digest"]))}
    except AuditorError as error:
        return {"error": failure_of(error).to_plain()}
    except MemoryError:
        return {"limit": OUT_OF_MEMORY}
    except OSError as error:
        if error.errno == errno.ENOMEM:  # a blob could not be mapped
            return {"limit": OUT_OF_MEMORY}
        raise


def serve(requests: TextIO, answers: TextIO, *, root: Path) -> None:
    """Answer until the parent closes the pipe."""
    blobs = FolderBlobs(root)
    for line in requests:
        answers.write(json.dumps(answer(line, blobs=blobs)) + "\n")
        answers.flush()


def main(arguments: list[str]) -> None:
    """Set the limits given on the command line, then serve."""
    root, memory_bytes, mapped_bytes, cpu_seconds = arguments
    # Whatever a library prints must not look like an answer.
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        set_limits(
            memory_bytes=int(memory_bytes),
            mapped_bytes=int(mapped_bytes),
            cpu_seconds=int(cpu_seconds),
        )
        serve(sys.stdin, answers, root=Path(root))


def _read_log(blobs: FolderBlobs, digest: Digest) -> StageLog:
    from auditor.stagelog.unsupported import refuse_unsupported  # noqa: PLC0415
    from auditor.stagelog.validate import parse_manifest, validate  # noqa: PLC0415

    log = parse_manifest(blobs.read(digest))
    _require_canonical(canonical_bytes(log), digest)
    validate(log)
    refuse_unsupported(log)
    return log


def _read_evaluation_set(blobs: FolderBlobs, digest: Digest) -> EvaluationSet:
    from auditor.stagelog.evaluation import parse_evaluation_set  # noqa: PLC0415

    evaluation_set = parse_evaluation_set(blobs.read(digest))
    _require_canonical(canonical_bytes(evaluation_set), digest)
    return evaluation_set


def _require_canonical(data: bytes, digest: Digest) -> None:
    if sha256(data) != digest:
        raise InputError(
            "manifest",
            expected="canonical JSON (RFC 8785)",
            found="the same content in another form",
            remedy="Do not reformat the manifest: its bytes are its identity.",
        )
