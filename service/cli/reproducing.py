"""What ``stageaudit reproduce`` does: gather the reader's copies, compute again, compare."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from auditor.attest.verify import Verification
from auditor.checks import needs_extra
from auditor.errors import ArtifactMissingError
from auditor.plan.request import AuditRequest
from auditor.report.reproduction import Missing, Only, Reproduction
from auditor.stagelog.digest import Digest, canonical_bytes
from auditor.stagelog.strict_json import parse_record
from service.cli.output import progress
from service.cli.reproduction_choice import chosen_of
from service.cli.reproduction_data import OwnCopies, is_redacted, require_same_log

if TYPE_CHECKING:
    from auditor.audit.reproduce import Again
    from auditor.edge.layered import LayeredBlobs
    from auditor.stagelog.log import StageLog

SECONDS_OUTSIDE = 600.0
"""How long an outside tool may take for one checkpoint."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Copies:
    """The reader's own files."""

    log: Path
    data: tuple[Path, ...]
    model: Path | None


@dataclass(frozen=True, kw_only=True, slots=True)
class How:
    """What is computed again, and where; None is as recorded."""

    only: tuple[str, ...]
    tolerance: float
    device: str | None
    threads: int | None
    lanes: int | None
    outside: tuple[str, ...]


def reproduce_here(
    verified: Verification, copies: Copies, how: How, *, quiet: bool
) -> Reproduction:
    """Compute a verified report again in this process and compare.

    Args:
        verified: The report.
        copies: The reader's own files.
        how: What is computed, and where.
        quiet: Show no progress.

    Raises:
        SubjectError: If the log is another one than the report is about.
        InputError: If ``only`` names what the report does not have.
        AuditorError: If an action fails.
    """
    chosen = chosen_of(how.only, verified.report)
    with needs_extra("server", purpose="A reproduction"), _copied(copies) as own:
        from auditor.audit.reproduction import reproduction_of

        blobs, log, digest = own
        require_same_log(verified.report, log, digest)
        request = _request_of(verified)
        left_out: tuple[str, ...] = ()
        if request is not None and request.model is not None and copies.model is None:
            request = request.model_copy(update={"model": None, "derivation": None})
            left_out = ("model",)
        missing = _missing(verified, request, log, blobs=blobs, how=how)
        if request is not None and not missing:
            try:
                again = _computed(request, verified, chosen, blobs=blobs, how=how, quiet=quiet)
            except ArtifactMissingError as error:
                missing = (Missing(what=error.where, why=error.found),)
            else:
                return reproduction_of(
                    verified.report,
                    again,
                    report_id=verified.report_id,
                    tolerance=how.tolerance,
                    only=chosen,
                    left_out=left_out,
                )
    return Reproduction(
        report=verified.report_id,
        outcome="no longer reproducible",
        tolerance=how.tolerance,
        missing=missing,
    )


@contextmanager
def _copied(copies: Copies) -> Iterator[tuple["LayeredBlobs", "StageLog", Digest]]:
    """Yield the reader's files as one store, which forgets what is computed."""
    from auditor.edge.folder import FolderBlobs
    from auditor.edge.layered import LayeredBlobs

    with TemporaryDirectory(prefix="stageaudit-") as scratch:
        blobs = LayeredBlobs(FolderBlobs(Path(scratch) / "results"))
        own = OwnCopies(blobs, scratch=Path(scratch))
        log, digest = own.log(copies.log)
        own.data(copies.data)
        if copies.model is not None:
            own.model(copies.model)
        yield blobs, log, digest


def _request_of(verified: Verification) -> AuditRequest | None:
    """Return the request that a report answers; None if it does not hold it."""
    if verified.report.asked is None:
        return None
    data = canonical_bytes(verified.report.asked)
    return parse_record(AuditRequest, data, where="report.asked")


def _missing(
    verified: Verification,
    request: AuditRequest | None,
    log: "StageLog",
    *,
    blobs: "LayeredBlobs",
    how: How,
) -> tuple[Missing, ...]:
    """Return what it would take and is not at hand."""
    from auditor.audit.outside import tools_of
    from auditor.audit.still_there import missing_data

    if request is None:
        why = "the report was made by a version that did not keep it"
        return (Missing(what="the audit request", why=why),)
    if is_redacted(verified.report, log):
        gaps = log.origin.gaps if log.origin is not None else ()
        return tuple(Missing(what=f"part of the log: {gap}", why="redacted") for gap in gaps)
    names = {data.digest: data.name for data in verified.report.evaluation_data}
    gone = missing_data(request, log, blobs=blobs, names=names)
    given = {text.partition("=")[0].partition("@")[0] for text in how.outside}
    tools = [tool.name for tool in tools_of(request) if tool.name not in given]
    why = "pass it with --outside"
    return (*gone, *(Missing(what=f"outside tool {name!r}", why=why) for name in tools))


def _computed(
    request: AuditRequest,
    verified: Verification,
    chosen: Only | None,
    *,
    blobs: "LayeredBlobs",
    how: How,
    quiet: bool,
) -> "Again":
    from auditor.audit.reproduce import Reproducer
    from service.executors.bench import recorded_bench
    from service.outside_tool import CommandTools, parse_tools

    run = verified.report.run
    tools = parse_tools(how.outside)
    outside = CommandTools(tools, limit_seconds=SECONDS_OUTSIDE) if tools else None
    with (
        recorded_bench(blobs, device=how.device, threads=how.threads, outside=outside) as bench,
        progress("computing again", unit="actions", quiet=quiet) as update,
    ):
        reproducer = Reproducer(
            request,
            blobs=blobs,
            recorded=None if run is None else run.executions,
            bench=bench,
            max_lanes=how.lanes,
            on_action=update,
        )
        return reproducer.everything() if chosen is None else reproducer.some(chosen)
