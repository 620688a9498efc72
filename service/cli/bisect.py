"""``stageaudit bisect``: release B is worse than A; which change did it?"""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from auditor.audit.bisect_finding import BisectFinding, BisectRequest
from auditor.checks import needs_extra
from auditor.effects import Probe, Query
from auditor.errors import InputError
from auditor.plan.settings import BISECT_DRAWS, BISECT_SHARE, DEFAULT_CONFIDENCE
from auditor.stagelog.digest import Digest
from service.cli.bisect_table import print_bisect
from service.cli.output import ExitCode, JsonOption, console, emit, progress
from service.cli.request_file import Places, read_request, resolve_request

if TYPE_CHECKING:
    from auditor.audit.local import LocalProgress


def bisect(
    a: Annotated[
        Path, typer.Argument(metavar="A", help="Log of release A.", exists=True, file_okay=False)
    ],
    b: Annotated[
        Path, typer.Argument(metavar="B", help="Log of release B.", exists=True, file_okay=False)
    ],
    query: Annotated[
        list[Path],
        typer.Option(
            metavar="REQUEST.yaml",
            help="Its queries are compared; may be given repeatedly.",
            exists=True,
            dir_okay=False,
        ),
    ],
    share: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Part of the gap that the cause explains.")
    ] = BISECT_SHARE,
    draws: Annotated[
        int, typer.Option(min=3, max=64, help="Draws of a stage's batches, for its noise.")
    ] = BISECT_DRAWS,
    confidence: Annotated[float, typer.Option(help="Of the intervals.")] = DEFAULT_CONFIDENCE,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda:0, auto.")] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Put A's data or settings of one stage into B, run B again, and name what made it worse.

    `stageaudit bisect runs/41 runs/42 --query request.yaml` compares two logs of one pipeline.
    Everything is computed in this process. The exit code is 0 when a change is named, 1 when no
    single change explains the gap.
    """
    finding = _bisect(
        a,
        b,
        queries=tuple(query),
        settings={"share": share, "confidence": confidence, "draws": draws, "seed": seed},
        device=device,
        quiet=as_json,
    )
    emit(finding, as_json=as_json, human=lambda: print_bisect(finding, console=console))
    if not finding.found:
        raise typer.Exit(ExitCode.FAIL)


def _bisect(
    a: Path,
    b: Path,
    *,
    queries: tuple[Path, ...],
    settings: Mapping[str, float],
    device: str,
    quiet: bool,
) -> BisectFinding:
    with needs_extra("server", purpose="A bisection"):
        from auditor.audit.bisect import bisect as run_bisect
    from auditor.edge.folder import FolderBlobs
    from auditor.edge.layered import LayeredBlobs
    from auditor.edge.result_index import FolderIndex
    from service.cli.local_audit import LocalPlaces, choose_device, use_own_threads
    from service.config import cache_folder

    cache = cache_folder()
    blobs = LayeredBlobs(FolderBlobs(cache / "blobs"))
    with TemporaryDirectory(prefix="stageaudit-") as scratch:
        places = LocalPlaces(blobs, scratch=Path(scratch))
        logs = [places.log(folder) for folder in (a, b)]
        request = _request(logs, queries, settings=settings, places=places)
        with progress("bisecting", unit="actions", quiet=quiet) as update:

            def on_progress(state: "LocalProgress") -> None:
                update(state.actions_done, state.actions_total)

            use_own_threads()
            return run_bisect(
                request,
                blobs=blobs,
                index=FolderIndex(cache / "results"),
                device=choose_device(device),
                on_progress=on_progress,
            )


def _request(
    logs: list[Digest],
    files: tuple[Path, ...],
    *,
    settings: Mapping[str, float],
    places: Places,
) -> BisectRequest:
    """Return what is asked, with the queries of all request files."""
    asked: list[Query | Probe] = []
    for file in files:
        document = {
            "log": logs[1],
            "interventions": "stages",
            "queries": read_request(file).get("queries"),
        }
        asked += resolve_request(document, base=file.parent, places=places).queries
    names = [query.name for query in asked]
    if len(set(names)) < len(names):
        raise InputError(
            "--query",
            expected="every query once",
            found=", ".join(names),
            remedy="Give the queries of the files names of their own.",
        )
    if not 0.5 < settings["confidence"] < 1 or settings["share"] <= 0:
        raise InputError(
            "--confidence, --share",
            expected="a confidence between 0.5 and 1 and a share above 0",
            found=f"{settings['confidence']:g} and {settings['share']:g}",
            remedy="Leave them out for 0.9 and 0.5.",
        )
    return BisectRequest.model_validate({
        "a": logs[0],
        "b": logs[1],
        "queries": tuple(asked),
        **settings,
    })
