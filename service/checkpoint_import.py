"""Checkpoints become a stage log: read, exported, put together; on the user's machine only."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from auditor.edge.clock import SystemClock
from auditor.errors import PreconditionError
from auditor.record.encodings import saved_preprocessing, saved_tokenizer
from auditor.record.exported_model import MODEL_FILE, read_exported_model
from auditor.record.hf_config import CONFIG_FILE
from auditor.record.imported_log import AddedValues, LogImport
from auditor.record.imported_stage import ImportedStage
from auditor.record.pickled import PickleReader
from auditor.record.saved_state import ADAPTER_CONFIG, SavedState, read_saved_state
from auditor.record.sink import FolderSink
from auditor.record.text_tokenizer import read_json_object
from auditor.record.training_facts import training_facts
from auditor.stagelog.log import Run, StageLog
from service.cli.import_sources import Source
from service.conversion import read_pickled
from service.model_export import export_folder

_VOLATILE = frozenset({
    "transformers_version", "_name_or_path", "dtype", "torch_dtype", "use_cache", "label2id",
})  # fmt: skip
"""Fields of ``config.json`` that do not change what a model computes."""


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

    def read(self, source: Source, *, read_pickle: PickleReader) -> SavedState:
        """Return the tensors of a checkpoint."""
        self.on_progress(f"reading {source.name}")
        return read_saved_state(source.path, read_pickle=read_pickle)

    def stages(
        self, sources: Sequence[Source], *, read_pickle: PickleReader
    ) -> tuple[SavedState, list[ImportedStage]]:
        """Return the first checkpoint, and every stage with its own, its model and its facts."""
        # Before models are exported, which takes longer than finding a file that is refused.
        states = [self.read(source, read_pickle=read_pickle) for source in sources]
        models = self.models(sources)
        stages = []
        tokenizer, preprocessing = (
            saved_tokenizer(sources[0].path),
            saved_preprocessing(sources[0].path),
        )
        for source, saved, folder in zip(sources[1:], states[1:], models, strict=True):
            model, graph = read_exported_model(folder)
            # A later folder without one goes on with that of the folder before.
            tokenizer = saved_tokenizer(source.path) or tokenizer
            preprocessing = saved_preprocessing(source.path) or preprocessing
            stages.append(
                ImportedStage(
                    name=source.name,
                    saved=saved,
                    model=model,
                    graph=graph,
                    facts=training_facts(source.path, model, read_pickle=read_pickle),
                    exported=folder if self._is_own(source, folder) else None,
                    tokenizer=tokenizer,
                    preprocessing=preprocessing,
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
            adapter = (source.path / ADAPTER_CONFIG).is_file()
            if (source.path / CONFIG_FILE).is_file() and not adapter:
                return source.path
        raise PreconditionError(
            f"stage {sources[index].name!r}",
            expected="a folder with config.json, or an exported model",
            found="neither",
            remedy="Export the module once with auditor.record.exported_model.export_model and "
            "pass the folder: --graph EXPORTED.",
        )

    def _export(self, folder: Path) -> Path:
        out = self._own_folder(folder)
        if not (out / MODEL_FILE).is_file():
            self.on_progress(f"exporting {folder.name}")
            export_folder(folder, out, length=self.length, on_progress=self.on_progress)
        return out

    def _own_folder(self, folder: Path) -> Path:
        plain = re.sub(r"[^A-Za-z0-9._-]", "-", str(folder.resolve()).strip("/"))
        return self.scratch / plain[-100:]

    def _is_own(self, source: Source, folder: Path) -> bool:
        return self.graph is None and self._own_folder(source.path) == folder


def _configuration(folder: Path) -> str:
    """Return what two folders with the same computation have in common."""
    plain: Mapping[str, Any] = read_json_object(folder / CONFIG_FILE)
    return repr(sorted((k, repr(v)) for k, v in plain.items() if k not in _VOLATILE))


def import_checkpoints(
    sources: tuple[Source, ...],
    output: Path,
    *,
    importer: Importer,
    added: AddedValues,
    run_name: str,
) -> StageLog:
    """Return the log of some checkpoints, written to a folder.

    Args:
        sources: In the order of the training; the first lies before the first stage.
        output: Receives the log.
        importer: Reads them and exports their models.
        added: What stands for parameters that the checkpoint before a stage lacks.
        run_name: What reports call the run.

    Raises:
        AuditorError: If a checkpoint is refused, by its name.
    """
    run = Run(
        name=run_name,
        created=SystemClock().now().isoformat(timespec="seconds"),
        recorder="stageaudit log import",
        framework="not recorded",
    )
    start, stages = importer.stages(sources, read_pickle=read_pickled)
    return LogImport(sink=FolderSink(output), run=run, added=added).write(start, stages)
