"""Raw rows to an evaluation set: texts through a tokenizer, or columns as they are."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, assert_never, final

from auditor.edge.folder import read_log
from auditor.errors import InputError, UnsupportedError
from auditor.plan.check_encoding import check_encoding
from auditor.record.csv_rows import read_csv
from auditor.record.evalset import ColumnValues
from auditor.record.evalset_folder import write_evaluation_folder
from auditor.record.fitted_columns import StageColumns, fitted, stage_columns
from auditor.record.hf_config import CONFIG_FILE, HfConfig, default_length, read_hf_config
from auditor.record.jsonl_rows import read_jsonl
from auditor.record.new_folder import new_folder, require_free
from auditor.record.parquet_rows import read_parquet
from auditor.record.table import Table
from auditor.record.table_columns import (
    ID,
    USUAL_COLUMNS,
    class_column,
    kept_columns,
    stacked_column,
)
from auditor.record.text_evalset import (
    DEFAULT_LENGTH,
    Padding,
    TextColumns,
    TextTask,
    classification_columns,
    language_columns,
)
from auditor.record.text_tokenizer import TextTokenizer, load_tokenizer
from auditor.stagelog.dataset import Dataset
from auditor.stagelog.validate import validate

TableFormat = Literal["jsonl", "csv", "parquet"]
LABEL = "label"
Progress = Callable[[int, int], None]


def _ignore(_done: int, _total: int) -> None:
    """Nobody watches."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class TableSettings:
    """What is made of the rows of a file.

    Attributes:
        name: What reports call the set; None for the file's name.
        tokenizer: Folder of the model's tokenizer; None when no column is tokenised.
        task: What the texts are for; None to find out.
        text: Column of the text; ``text``, or ``completion`` where the file has prompts.
        pair: Column of a second text.
        prompt: Column before the text, which does not count.
        label: Column of the class.
        classes: Names of the classes in their order.
        length: Most tokens of an example; None for what log or model say.
        padding: What short texts are filled up to.
        stack: Columns to put side by side, by the name of the new column.
        keep: Columns to take over; None for the usual ones, without a tokenizer for all.
        ids: Column that tells examples apart; None for ``id``, else to number them.
        log: Folder of the log that the set is for: its columns, lengths and classes are followed.
        stage: Stage of it that reads the set; None for the last.
        delimiter: Of a CSV file.
    """

    name: str | None = None
    tokenizer: Path | None = None
    task: TextTask | None = None
    text: str | None = None
    pair: str | None = None
    prompt: str | None = None
    label: str = LABEL
    classes: Sequence[str] | None = None
    length: int | None = None
    padding: Padding = "longest"
    stack: Mapping[str, Sequence[str]] = field(default_factory=dict)
    keep: Sequence[str] | None = None
    ids: str | None = None
    log: Path | None = None
    stage: str | None = None
    delimiter: str | None = None


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """What is worth saying about a set that was written."""

    classes: Mapping[str, int] | None = None
    notes: tuple[str, ...] = ()


def write_table_set(
    path: Path,
    out: Path,
    *,
    kind: TableFormat,
    settings: TableSettings,
    on_progress: Progress = _ignore,
) -> Made:
    """Return what was found while the rows of a file were written as an evaluation set.

    Args:
        path: The file.
        out: A folder that is absent or empty; written in full or not at all.
        kind: The file's format.
        settings: What is made of it.
        on_progress: Told how much of how much is done.

    Raises:
        AuditorError: If the file or a row is refused, or the set does not fit the log.
    """
    require_free(out)
    target = None if settings.log is None else stage_of(settings.log, settings.stage)
    table = _read(path, kind=kind, settings=settings, on_progress=on_progress)
    name = settings.name or path.stem
    if settings.tokenizer is None:
        columns, label, made = _plain(table, settings, target=target)
        digest = None
    else:
        tokenizer = load_tokenizer(settings.tokenizer, on_progress=on_progress)
        require_encoding(target, tokenizer=tokenizer.digest, name=name)
        texts, made = _texts(table, tokenizer, settings, target=target)
        columns, label = dict(texts.columns), LABEL if texts.task == "classification" else None
        digest = texts.tokenizer
    if target is not None:
        columns = fitted(columns, target, label=label, where=path.name)
    with new_folder(out) as folder:
        write_evaluation_folder(folder, name=name, columns=columns, tokenizer=digest)
    return made


def stage_of(folder: Path, name: str | None) -> StageColumns:
    """Return what a stage of a log in a folder reads."""
    log, _, _ = read_log(folder)
    validate(log)
    return stage_columns(log, name)


def require_encoding(
    target: StageColumns | None,
    *,
    name: str,
    tokenizer: str | None = None,
    preprocessing: str | None = None,
) -> None:
    """Refuse, before the work, an encoding that an audit of the log would refuse."""
    if target is not None:
        made = Dataset(
            examples=1, columns={}, shards=(), tokenizer=tokenizer, preprocessing=preprocessing
        )
        check_encoding(made, stage=target.stage, log=target.log, where=str(name), name=name)


def configuration(folder: Path) -> HfConfig | None:
    """Return what a model's folder says of its classes and lengths; None where it does not."""
    try:
        return read_hf_config(folder) if (folder / CONFIG_FILE).is_file() else None
    except UnsupportedError:
        return None  # a model of another kind, whose tokenizer serves all the same


def _read(
    path: Path, *, kind: TableFormat, settings: TableSettings, on_progress: Progress
) -> Table:
    texts = {settings.text, settings.pair, settings.prompt, "text", "prompt", "completion"}
    match kind:
        case "jsonl":
            return read_jsonl(path)
        case "csv":
            named = {text for text in texts if text is not None}
            return read_csv(
                path,
                texts=named if settings.tokenizer is not None else (),
                delimiter=settings.delimiter,
            )
        case "parquet":
            wanted = None
            if settings.tokenizer is not None or settings.keep is not None:
                wanted = {name for name in texts if name is not None}
                wanted |= {settings.label, settings.ids or ID, *(settings.keep or USUAL_COLUMNS)}
                if settings.stack:
                    wanted = None
            return read_parquet(path, columns=wanted, on_progress=on_progress)
        case _:
            assert_never(kind)


def _plain(
    table: Table, settings: TableSettings, *, target: StageColumns | None
) -> tuple[dict[str, ColumnValues], str | None, Made]:
    """Return columns as they are, and the one of the class."""
    stacked = {
        name: stacked_column(table, patterns, where=name)
        for name, patterns in settings.stack.items()
    }
    ids = _ids(table, settings)
    keep = settings.keep
    if keep is None:
        used = _matched(table, settings.stack)
        keep = [name for name in table.columns if name not in {*used, ids}]
    columns = kept_columns(table, [name for name in keep if name != settings.label], ids=ids)
    label, classes = None, None
    if settings.label in table.columns:
        label = settings.label
        columns[label], classes = _labels(table, settings, target=target)
    return {**columns, **stacked}, label, Made(classes=classes)


def _labels(
    table: Table, settings: TableSettings, *, target: StageColumns | None
) -> tuple[ColumnValues, Mapping[str, int] | None]:
    """Return the classes as numbers; other targets, such as of a regression, as they are."""
    classes = _classes(settings, target=target)
    if classes is None and not all(isinstance(row.get(settings.label), str) for row in table.rows):
        return kept_columns(table, [settings.label])[settings.label], None
    return class_column(table, settings.label, classes=classes)


def _matched(table: Table, stack: Mapping[str, Sequence[str]]) -> set[str]:
    patterns = [pattern for group in stack.values() for pattern in group]
    return {
        name for name in table.columns if any(fnmatchcase(name, pattern) for pattern in patterns)
    }


def _ids(table: Table, settings: TableSettings) -> str | None:
    if settings.ids is not None:
        return settings.ids
    return ID if table.everywhere(ID) else None


def _texts(
    table: Table,
    tokenizer: TextTokenizer,
    settings: TableSettings,
    *,
    target: StageColumns | None,
) -> tuple[TextColumns, Made]:
    """Return tokenised columns."""
    folder = settings.tokenizer or Path()
    config = configuration(folder)
    task = settings.task or _task(table, config, settings)
    keep = settings.keep
    if keep is None:
        keep = [name for name in USUAL_COLUMNS if table.everywhere(name)]
    tokens = None if target is None else target.tokens
    length = settings.length or tokens or _own_length(config)
    padding: Padding = settings.padding if tokens is None else "length"
    if task == "classification":
        classes = _classes(settings, target=target) or (config.classes if config else None)
        texts = classification_columns(
            table,
            tokenizer,
            text=settings.text or "text",
            pair=settings.pair,
            label=settings.label,
            classes=classes or None,
            length=length,
            padding=padding,
            ids=_ids(table, settings),
            keep=keep,
        )
        return texts, Made(classes=classes or None, notes=_notes(texts))
    text, prompt = settings.text, settings.prompt
    if text is None and prompt is None and {"prompt", "completion"} <= set(table.columns):
        text, prompt = "completion", "prompt"
    texts = language_columns(
        table,
        tokenizer,
        text=text or "text",
        prompt=prompt,
        length=length if tokens is None else length + 1,  # the last one is only asked for
        padding=padding,
        ids=_ids(table, settings),
        keep=keep,
    )
    return texts, Made(notes=_notes(texts))


def _task(table: Table, config: HfConfig | None, settings: TableSettings) -> TextTask:
    if config is not None and config.task != "other":
        return config.task
    return "classification" if settings.label in table.columns else "language"


def _own_length(config: HfConfig | None) -> int:
    return DEFAULT_LENGTH if config is None else default_length(config)


def _classes(settings: TableSettings, *, target: StageColumns | None) -> dict[str, int] | None:
    """Return the number of each class by name: as the caller says, or as the log has them."""
    if settings.classes is None:
        return None if target is None else target.classes
    if len(set(settings.classes)) != len(settings.classes):
        raise InputError(
            "--classes",
            expected="every class once",
            found=", ".join(settings.classes),
            remedy="Name the classes in the order of their numbers.",
        )
    return {name: number for number, name in enumerate(settings.classes)}


def _notes(texts: TextColumns) -> tuple[str, ...]:
    notes = [f"{texts.length} tokens an example"]
    if texts.truncated:
        notes.append(f"{texts.truncated} texts were cut")
    return tuple(notes)
