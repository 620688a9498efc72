"""``stageaudit quick``: from checkpoints and a JSONL file to a table, in one command."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, final

import typer

from auditor.edge.folder import LOG_FILE
from auditor.errors import ConflictError, InputError
from service.cli.asking import asking_here
from service.cli.extras import needs_extra
from service.cli.import_sources import CONFIG_FILE, Importer, Source, parse_sources
from service.cli.log_import import AddedOption, CheckpointsArgument, make_log
from service.cli.output import JsonOption, console, emit, keep, notice
from service.cli.quick_table import print_quick, quick_summary
from service.cli.request_file import resolve_request

if TYPE_CHECKING:
    from auditor.record.hf_config import HfConfig
    from auditor.record.text_evalset import TextColumns

DATA = "What is evaluated"
TOKENIZER_FILE = "tokenizer.json"
KEPT_COLUMNS = ("source", "group")
"""Columns of the file that the evaluation set takes over where every row has them."""


def quick(
    checkpoints: CheckpointsArgument,
    data: Annotated[
        Path,
        typer.Option(
            metavar="FILE.jsonl",
            help="Evaluation data, a JSON object a line.",
            exists=True,
            dir_okay=False,
        ),
    ],
    text: Annotated[
        str | None,
        typer.Option(help="Its text column; default: text.", rich_help_panel=DATA),
    ] = None,
    label: Annotated[
        str, typer.Option(help="Of a classifier: its column of the class.", rich_help_panel=DATA)
    ] = "label",
    pair: Annotated[
        str | None,
        typer.Option(help="Of a classifier: its column of a second text.", rich_help_panel=DATA),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(
            help="Of a language model: the column before the text, which does not count; default: "
            "prompt, with the text in completion, where the file has both.",
            rich_help_panel=DATA,
        ),
    ] = None,
    length: Annotated[
        int,
        typer.Option(min=4, help="Tokens of a text that are kept.", rich_help_panel=DATA),
    ] = 512,
    added: AddedOption = "refuse",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Keep the log, the evaluation set, the exported model and the report here.",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda:0 or auto.")] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Say what checkpoints alone tell about the stages between them, in minutes on a CPU.

    `stageaudit quick base sft final --data eval.jsonl` makes a log of three Hugging Face folders,
    tokenises the file with the tokenizer of the last one, evaluates every checkpoint, and prints
    what each stage changed. Text classifiers: columns text and label. Language models: text, or
    prompt and completion.

    It says what such figures answer and what they cannot, and what to record next time.
    """
    sources = parse_sources(checkpoints)
    say: Callable[[str], None] = lambda found: None if as_json else notice(found)  # noqa: E731
    with _workplace(output) as place:
        config, texts = _texts(
            sources, data, text=text, label=label, pair=pair, prompt=prompt, length=length
        )
        say(f"{texts.length} tokens an example; {texts.truncated} texts were cut")
        _write_evaluation_set(place.data, name=data.stem, texts=texts)
        log = make_log(
            sources,
            place.log,
            importer=Importer(scratch=place.models, length=texts.length, on_progress=say),
            added=added,
            run_name=sources[-1].name,
        )
        document = _document(place, texts=texts)
        with asking_here(device=device, quiet=as_json) as asker:
            request = resolve_request(document, base=place.root, places=asker.places)
            answer = asker.ask(request)
        if output is not None:
            keep(answer.document, output / "report.json")
        summary = quick_summary(answer.report, log, texts=texts, architecture=config.architecture)
        emit(summary, as_json=as_json, human=lambda: print_quick(summary, console=console))


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class _Workplace:
    """Where the parts of an answer are made."""

    root: Path

    @property
    def log(self) -> Path:
        return self.root / "log"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def models(self) -> Path:
        return self.root / "models"


@contextmanager
def _workplace(output: Path | None) -> Iterator[_Workplace]:
    if output is None:
        with TemporaryDirectory(prefix="stageaudit-quick-") as scratch:
            yield _Workplace(root=Path(scratch))
        return
    if (output / "log" / LOG_FILE).exists():
        raise ConflictError(
            str(output),
            expected="a folder without a log",
            found="one",
            remedy="Name another folder.",
        )
    yield _Workplace(root=output.absolute())


def _texts(
    sources: Sequence[Source],
    data: Path,
    *,
    text: str | None,
    label: str,
    pair: str | None,
    prompt: str | None,
    length: int,
) -> "tuple[HfConfig, TextColumns]":
    """Return the last model's configuration and the file as columns for it."""
    with needs_extra("huggingface", purpose="Tokenising texts"):
        from auditor.record.hf_config import default_length, read_hf_config
        from auditor.record.jsonl_rows import read_jsonl
        from auditor.record.text_evalset import classification_columns, language_columns
        from auditor.record.text_tokenizer import load_tokenizer
    config = read_hf_config(_last_with(sources, CONFIG_FILE))
    tokenizer = load_tokenizer(_last_with(sources, TOKENIZER_FILE))
    rows = read_jsonl(data)
    kept = [name for name in KEPT_COLUMNS if all(name in row for row in rows)]
    most = min(length, default_length(config)) if length <= 512 else length
    if config.task == "classification":
        return config, classification_columns(
            rows,
            tokenizer,
            text=text or "text",
            pair=pair,
            label=label,
            classes=config.classes,
            length=most,
            keep=kept,
        )
    if prompt is None and text is None and {"prompt", "completion"} <= rows[0].keys():
        prompt, text = "prompt", "completion"
    return config, language_columns(
        rows, tokenizer, text=text or "text", prompt=prompt, length=most, keep=kept
    )


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


def _write_evaluation_set(folder: Path, *, name: str, texts: "TextColumns") -> None:
    from auditor.record.evalset_folder import write_evaluation_folder

    write_evaluation_folder(folder, name=name, columns=texts.columns, tokenizer=texts.tokenizer)


def _document(place: _Workplace, *, texts: "TextColumns") -> dict[str, Any]:
    """Return the request: every stage skipped, by what checkpoints allow."""
    of_tokens = texts.task == "language"
    shared = {"data": str(place.data), "target": "next" if of_tokens else "label"}
    shared |= {"mask": "counted"} if of_tokens else {}
    second = ("perplexity", "lower") if of_tokens else ("accuracy", "higher")
    return {
        "log": str(place.log),
        "interventions": "stages",
        "queries": [
            {"name": kind, "kind": kind, "better": better, **shared}
            for kind, better in (("loss", "lower"), second)
        ],
        "estimator": "checkpoint_delta",
        "baselines": ["task_vector"],
        "purpose": "stageaudit quick: checkpoints only",
    }
