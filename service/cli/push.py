"""``stageaudit push``: send logs, evaluation sets and models; what is there is not sent again."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from auditor.edge.folder import EVALSET_FILE, LOG_FILE
from auditor.errors import InputError
from auditor.stagelog.digest import Digest
from service.cli.connect import ServerOption, connect
from service.cli.output import JsonOption, console, emit
from service.cli.request_file import Places

MODEL_SUFFIXES = frozenset({".safetensors", ".onnx"})


def push(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...",
            help="Log folders, evaluation-set folders, .npz files, .safetensors or .onnx models.",
            exists=True,
        ),
    ],
    server: ServerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send a log, evaluation data or a model to the service, and print its digest.

    `stageaudit push runs/42 heldout model.safetensors` sends all three. An interrupted push goes on
    where it stopped. `stageaudit audit` sends what a request names, so this is optional.
    """
    kinds = [kind_of(path) for path in paths]
    from service.cli.remote_audit import RemotePlaces

    with connect(server) as client, TemporaryDirectory(prefix="stageaudit-") as scratch:
        places = RemotePlaces(client, scratch=Path(scratch), quiet=as_json)
        pushed = [
            {"path": str(path), "kind": kind, "digest": _sender(places, kind)(path.resolve())}
            for path, kind in zip(paths, kinds, strict=True)
        ]

    def human() -> None:
        for item in pushed:
            console.print("{kind:15} {digest}  {path}".format(**item), markup=False)

    emit({"pushed": pushed}, as_json=as_json, human=human)


def kind_of(path: Path) -> str:
    """Return what lies at a path: ``log``, ``evaluation set`` or ``model``.

    Raises:
        InputError: If it is none of them.
    """
    if (path / LOG_FILE).is_file():
        return "log"
    if (path / EVALSET_FILE).is_file() or path.suffix == ".npz":
        return "evaluation set"
    if path.suffix in MODEL_SUFFIXES:
        return "model"
    raise InputError(
        str(path),
        expected=f"a folder with {LOG_FILE} or {EVALSET_FILE}, or a file ending in .npz, "
        ".safetensors or .onnx",
        found="none of them",
        remedy="Record a log with auditor.record, or check the path.",
    )


def _sender(places: Places, kind: str) -> Callable[[Path], Digest]:
    return {
        "log": places.log,
        "evaluation set": places.evaluation_set,
        "model": places.model,
    }[kind]
