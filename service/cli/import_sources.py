"""Checkpoints that the command line names, in order, each with the model that it is a state of."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from auditor.errors import InputError, PreconditionError

if TYPE_CHECKING:
    from auditor.record.exported_model import ExportedModel
    from auditor.record.imported_log import ImportedStage
    from auditor.record.pickled import PickleReader
    from auditor.record.saved_state import SavedState

_VOLATILE = frozenset({
    "transformers_version", "_name_or_path", "dtype", "torch_dtype", "use_cache", "label2id",
})  # fmt: skip
"""Fields of ``config.json`` that do not change what a model computes."""

MODEL_FILE = "model.json"
CONFIG_FILE = "config.json"


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


@final
@dataclass(kw_only=True)
class Importer:
    """Reads checkpoints and exports their models.

    Attributes:
        scratch: Where models are exported to.
        graph: An exported model that all checkpoints are states of; None to export their folders.
        length: Tokens of every example; None for the model's default.
        on_progress: Told what is being done.
    """

    scratch: Path
    graph: Path | None = None
    length: int | None = None
    on_progress: Callable[[str], None]

    def read(self, source: Source, *, read_pickle: "PickleReader") -> "SavedState":
        """Return the tensors of a checkpoint."""
        from auditor.record.saved_state import read_saved_state

        self.on_progress(f"reading {source.name}")
        return read_saved_state(source.path, read_pickle=read_pickle)

    def stages(
        self, sources: Sequence[Source], *, read_pickle: "PickleReader"
    ) -> "tuple[SavedState, list[ImportedStage]]":
        """Return the first checkpoint, and every stage with its own, its model and its facts."""
        from auditor.record.imported_log import ImportedStage
        from auditor.record.training_facts import training_facts

        # Before models are exported, which takes longer than finding a file that is refused.
        states = [self.read(source, read_pickle=read_pickle) for source in sources]
        models = self.models(sources)
        stages = []
        for source, saved, folder in zip(sources[1:], states[1:], models, strict=True):
            model, graph = _exported(folder)
            stages.append(
                ImportedStage(
                    name=source.name,
                    saved=saved,
                    model=model,
                    graph=graph,
                    facts=training_facts(source.path, model, read_pickle=read_pickle),
                    exported=folder if self._is_own(source, folder) else None,
                )
            )
        return states[0], stages

    def models(self, sources: Sequence[Source]) -> list[Path]:
        """Return the exported model of each stage, equal configurations exported once."""
        if self.graph is not None:
            return [self.graph] * (len(sources) - 1)
        folders = [self._model_folder(sources, index) for index in range(1, len(sources))]
        # Of equal configurations the last is exported, so that its own weights are compared.
        last = {_configuration(folder): folder for folder in folders}
        return [self._export(last[_configuration(folder)]) for folder in folders]

    def _model_folder(self, sources: Sequence[Source], index: int) -> Path:
        """Return the folder whose config.json describes a stage's model: its own or the nearest."""
        for source in (*reversed(sources[: index + 1]), *sources[index + 1 :]):
            if (source.path / CONFIG_FILE).is_file():
                return source.path
        raise PreconditionError(
            f"stage {sources[index].name!r}",
            expected="a folder with config.json, or an exported model",
            found="neither",
            remedy="Export the module once with auditor.record.exported_model.export_model and "
            "pass the folder: --graph EXPORTED.",
        )

    def _export(self, folder: Path) -> Path:
        from auditor.record.hf_config import default_length, read_hf_config
        from service.model_export import export_folder

        out = self._own_folder(folder)
        if not (out / MODEL_FILE).is_file():
            config = read_hf_config(folder)
            self.on_progress(f"exporting {folder.name}")
            export_folder(
                folder,
                out,
                length=self.length or default_length(config),
                on_progress=self.on_progress,
            )
        return out

    def _own_folder(self, folder: Path) -> Path:
        plain = re.sub(r"[^A-Za-z0-9._-]", "-", str(folder.resolve()).strip("/"))
        return self.scratch / plain[-100:]

    def _is_own(self, source: Source, folder: Path) -> bool:
        return self.graph is None and self._own_folder(source.path) == folder


def _exported(folder: Path) -> "tuple[ExportedModel, bytes]":
    from auditor.record.exported_model import read_exported_model

    return read_exported_model(folder)


def _configuration(folder: Path) -> str:
    """Return what two folders with the same computation have in common."""
    from auditor.record.text_tokenizer import read_json_object

    plain: Mapping[str, Any] = read_json_object(folder / CONFIG_FILE)
    return repr(sorted((k, repr(v)) for k, v in plain.items() if k not in _VOLATILE))


def _plain_name(path: Path) -> str:
    """Return a file's name without its ending, or a folder's name."""
    whole = path.resolve()
    return whole.name if whole.is_dir() else whole.stem
