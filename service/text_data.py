"""A JSONL file as an evaluation set for the model of some checkpoints."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from auditor.errors import InputError, UnsupportedError
from auditor.record.evalset_folder import write_evaluation_folder
from auditor.record.hf_config import CONFIG_FILE, HfConfig, default_length, read_hf_config
from auditor.record.jsonl_rows import read_jsonl
from auditor.record.table_columns import USUAL_COLUMNS
from auditor.record.text_evalset import (
    DEFAULT_LENGTH,
    TextColumns,
    classification_columns,
    language_columns,
)
from auditor.record.text_tokenizer import TOKENIZER_FILE, load_tokenizer
from service.cli.import_sources import Source


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnNames:
    """Which columns of the file are meant; None for the default.

    Attributes:
        text: The text; ``text``, or ``completion`` where the file has prompts.
        label: Of a classifier: the class.
        pair: Of a classifier: a second text.
        prompt: Of a language model: what stands before the text and does not count.
    """

    text: str | None = None
    label: str = "label"
    pair: str | None = None
    prompt: str | None = None


def read_texts(
    sources: Sequence[Source], data: Path, *, names: ColumnNames, length: int
) -> tuple[HfConfig, TextColumns]:
    """Return the last model's configuration and the file as columns for it.

    Args:
        sources: Checkpoints; the last folder with a configuration, and the last with a tokenizer,
            say how texts are read.
        data: A JSONL file.
        names: Its columns.
        length: Most tokens of a text; no more than the model has positions.

    Raises:
        InputError: If no folder has a configuration or a tokenizer, or a row is not as it should.
    """
    config = read_hf_config(_last_with(sources, CONFIG_FILE))
    if config.takes_images:
        raise UnsupportedError(
            config.architecture,
            expected="a model of texts",
            found="one of images",
            remedy="Take `stageaudit log import`, `stageaudit data from-images` and `stageaudit "
            "audit --local`: docs/howto/bring-your-data.md shows them.",
        )
    tokenizer = load_tokenizer(_last_with(sources, TOKENIZER_FILE))
    table = read_jsonl(data)
    kept = [name for name in USUAL_COLUMNS if table.everywhere(name)]
    most = min(length, default_length(config)) if length <= DEFAULT_LENGTH else length
    text, prompt = names.text, names.prompt
    if config.task == "classification":
        return config, classification_columns(
            table,
            tokenizer,
            text=text or "text",
            pair=names.pair,
            label=names.label,
            classes=config.classes,
            length=most,
            keep=kept,
        )
    if prompt is None and text is None and {"prompt", "completion"} <= table.rows[0].keys():
        prompt, text = "prompt", "completion"
    return config, language_columns(
        table, tokenizer, text=text or "text", prompt=prompt, length=most, keep=kept
    )


def write_texts(folder: Path, *, name: str, texts: TextColumns) -> None:
    """Write texts as an evaluation set."""
    write_evaluation_folder(folder, name=name, columns=texts.columns, tokenizer=texts.tokenizer)


def _last_with(sources: Sequence[Source], name: str) -> Path:
    for source in reversed(sources):
        if (source.path / name).is_file():
            return source.path
    raise InputError(
        "CHECKPOINT...",
        expected=f"a folder with {name} among them",
        found="none",
        remedy="Pass the folders that save_pretrained wrote, model and tokenizer; for other "
        "checkpoints use `stageaudit log import --graph` and `stageaudit audit --local`.",
    )
