"""Checkpoints that the command line names, in the order of the training."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from auditor.errors import InputError


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A checkpoint by the name of the stage that it ends."""

    name: str
    path: Path


def parse_sources(texts: Sequence[str]) -> tuple[Source, ...]:
    """Return the checkpoints that arguments ``[NAME=]PATH`` name; a folder's name by default.

    Raises:
        InputError: If there are fewer than two, a path does not exist, or names are not distinct.
    """
    found = []
    for text in texts:
        name, given, rest = text.partition("=")
        path = Path(rest if given and name and not Path(text).exists() else text)
        if not path.exists():
            raise InputError(
                text,
                expected="a checkpoint: [NAME=]PATH",
                found="no such path",
                remedy="Name the checkpoints in the order of the training, the first one before "
                "the first stage.",
            )
        plain = _plain_name(path) if path == Path(text) else name
        found.append(Source(name=plain, path=path))
    if len(found) < 2:
        raise InputError(
            "CHECKPOINT...",
            expected="two or more: the one before the first stage, then one for each stage's end",
            found=len(found),
            remedy="Name them in the order of the training.",
        )
    names = [source.name for source in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            "CHECKPOINT...",
            expected="stages with different names",
            found=twice[0],
            remedy="Give them names: sft=PATH dpo=PATH.",
        )
    return tuple(found)


def _plain_name(path: Path) -> str:
    """Return a file's name without its ending, or a folder's name."""
    whole = path.resolve()
    return whole.name if whole.is_dir() else whole.stem
