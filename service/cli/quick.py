"""``stageaudit quick``: from checkpoints and a JSONL file to a table, in one command."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, final

import typer

from auditor.checks import needs_extra
from auditor.edge.folder import LOG_FILE
from auditor.errors import ConflictError
from service.cli.asking import asking_here
from service.cli.import_sources import parse_sources
from service.cli.log_import import AddedOption, CheckpointsArgument
from service.cli.output import JsonOption, console, emit, keep, notice
from service.cli.quick_table import print_quick, quick_summary
from service.cli.request_file import resolve_request

if TYPE_CHECKING:
    from auditor.record.text_evalset import TextColumns

DATA = "What is evaluated"


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
    with needs_extra("server", purpose="stageaudit quick"):
        from service.checkpoint_import import Importer, import_checkpoints
        from service.text_data import ColumnNames, read_texts, write_texts
    say: Callable[[str], None] = lambda found: None if as_json else notice(found)  # noqa: E731
    with _workplace(output) as place:
        names = ColumnNames(text=text, label=label, pair=pair, prompt=prompt)
        config, texts = read_texts(sources, data, names=names, length=length)
        say(f"{texts.length} tokens an example; {texts.truncated} texts were cut")
        write_texts(place.data, name=data.stem, texts=texts)
        log = import_checkpoints(
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
