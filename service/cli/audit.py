"""``stageaudit audit``: ask, wait, read the answer, keep the signed report."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from auditor.effects import Better, QueryKind
from service.cli.audit_flags import AuditFlags, apply_flags
from service.cli.connect import ServerOption, connect
from service.cli.output import JsonOption, console, emit, keep, notice
from service.cli.report_table import print_report
from service.cli.request_file import read_request, resolve_request

ASK = "What is asked"
HOW = "How it is answered"
WHERE = "Where it runs, what is kept"


def audit(
    request: Annotated[
        Path | None,
        typer.Argument(
            metavar="REQUEST.yaml",
            help="The request; flags override its fields.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    log: Annotated[
        str | None,
        typer.Option(help="Log: a folder, or the digest of a pushed one.", rich_help_panel=ASK),
    ] = None,
    skip: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STAGE|all", help="Had the stage's updates not run?", rich_help_panel=ASK
        ),
    ] = None,
    replace: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STAGE=DATA", help="Had it used this data instead?", rich_help_panel=ASK
        ),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STAGE:COLUMN=VALUE",
            help="Had it not used these examples?",
            rich_help_panel=ASK,
        ),
    ] = None,
    query: Annotated[
        QueryKind | None, typer.Option(help="One query by flags.", rich_help_panel=ASK)
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Its evaluation set: a folder, an .npz, or a digest.", rich_help_panel=ASK
        ),
    ] = None,
    better: Annotated[
        Better | None, typer.Option(help="Which direction of it is good.", rich_help_panel=ASK)
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Its target column; default: label.", rich_help_panel=ASK)
    ] = None,
    class_: Annotated[
        int | None,
        typer.Option(
            "--class", help="Its class; default: each example's own.", rich_help_panel=ASK
        ),
    ] = None,
    query_name: Annotated[
        str | None, typer.Option(help="What it is called in the report.", rich_help_panel=ASK)
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="The column whose groups it compares.", rich_help_panel=ASK)
    ] = None,
    extremes: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1000,
            help="Name so many examples that each intervention raised and lowered most.",
            rich_help_panel=ASK,
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            help="Model file to bind: safetensors or ONNX.",
            exists=True,
            dir_okay=False,
            rich_help_panel=ASK,
        ),
    ] = None,
    estimator: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="One that `stageaudit estimators` lists; `default` is `auto`.",
            rich_help_panel=HOW,
        ),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            help="For auto: half the width an interval may have, in the query's unit.",
            rich_help_panel=HOW,
        ),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(
            help="For auto: gradient-examples at most, exact retraining of everything = 1.",
            rich_help_panel=HOW,
        ),
    ] = None,
    replicas: Annotated[
        int | None, typer.Option(min=1, max=64, help="Replays.", rich_help_panel=HOW)
    ] = None,
    fraction: Annotated[
        float | None, typer.Option(help="Part of every batch that is used.", rich_help_panel=HOW)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of all draws.", rich_help_panel=HOW)
    ] = None,
    confidence: Annotated[
        float | None, typer.Option(help="Of the intervals, such as 0.9.", rich_help_panel=HOW)
    ] = None,
    noise: Annotated[
        str | None,
        typer.Option(
            metavar="order,rerun",
            help="Measure sd_order, sd_rerun by replays in other orders.",
            rich_help_panel=HOW,
        ),
    ] = None,
    purpose: Annotated[
        str | None, typer.Option(help="Why it is asked; in the report.", rich_help_panel=HOW)
    ] = None,
    operator: Annotated[
        str | None, typer.Option(help="Who asks; in the report.", rich_help_panel=HOW)
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(
            help="The policy that the report will be judged by: its digest is signed with it.",
            exists=True,
            dir_okay=False,
            rich_help_panel=HOW,
        ),
    ] = None,
    local: Annotated[
        Path | None,
        typer.Option(
            metavar="LOGDIR",
            help="Audit this log folder in this process, without a service.",
            exists=True,
            file_okay=False,
            rich_help_panel=WHERE,
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(help="With --local: cpu, cuda:0, auto.", rich_help_panel=WHERE)
    ] = "auto",
    outside: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[@VERSION]=COMMAND",
            help="With --local: run this for queries of kind outside; {checkpoint} and {values} "
            "in it become paths.",
            rich_help_panel=WHERE,
        ),
    ] = None,
    outside_seconds: Annotated[
        float, typer.Option(min=1, help="Its time for one checkpoint.", rich_help_panel=WHERE)
    ] = 600.0,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what it would compute.", rich_help_panel=WHERE)
    ] = False,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch/--detach", help="Wait and print, or return at once.", rich_help_panel=WHERE
        ),
    ] = True,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write the signed report here.",
            dir_okay=False,
            rich_help_panel=WHERE,
        ),
    ] = None,
    server: ServerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask which stage is responsible, and print effects with intervals.

    `stageaudit audit request.yaml -o report.json` sends the request, and its data if the service
    lacks it, waits, prints the effects and keeps the signed report.

    `stageaudit audit --log runs/42 --skip all --query loss --data heldout --better lower` asks one
    question without a file.

    `stageaudit audit request.yaml --local runs/42` needs no service.

    `stageaudit audit request.yaml --tolerance 0.02 --budget 0.5` spends as much as that needs, and
    at most half of exact retraining.

    `stageaudit audit request.yaml --estimator retrain` computes the exact truth instead.

    Ctrl-C cancels the audit; what it has finished is kept for the next one.
    """  # fmt: skip
    flags = AuditFlags(
        log=str(local) if local is not None else log,
        model=model,
        skip=tuple(skip or ()),
        replace=tuple(replace or ()),
        drop=tuple(drop or ()),
        query=query,
        data=data,
        better=better,
        target=target,
        class_=class_,
        query_name=query_name,
        group=group,
        extremes=extremes,
        estimator=estimator,
        replicas=replicas,
        fraction=fraction,
        tolerance=tolerance,
        budget=budget,
        seed=seed,
        confidence=confidence,
        noise=noise,
        purpose=purpose,
        operator=operator,
        policy=policy,
    )
    if local is not None and (log is not None or not watch):
        raise typer.BadParameter("goes with neither --log nor --detach", param_hint="--local")
    if local is None and outside:
        raise typer.BadParameter(
            "goes with --local: a service runs no commands", param_hint="--outside"
        )
    document = apply_flags(read_request(request) if request is not None else {}, flags)
    base = request.parent if request is not None else Path.cwd()
    if local is not None and plan:
        _plan_here(document, base=base, device=device, tools=outside or (), as_json=as_json)
    elif local is not None:
        _audit_here(
            document, base=base, device=device, output=output, as_json=as_json,
            outside=outside or (), outside_seconds=outside_seconds,
        )  # fmt: skip
    else:
        _audit_there(
            document, base=base, server=server, plan=plan, watch=watch, output=output,
            as_json=as_json,
        )  # fmt: skip


def _plan_here(
    document: dict[str, Any], *, base: Path, device: str, tools: Sequence[str], as_json: bool
) -> None:
    """Say what the audit would compute in this process."""
    from auditor.edge.folder import FolderBlobs
    from auditor.edge.layered import LayeredBlobs
    from service.cli.local_audit import LocalPlaces, choose_device, free_memory
    from service.cli.local_plan import local_plan
    from service.cli.remote_audit import emit_plan
    from service.config import cache_folder
    from service.outside_tool import parse_tools

    cache = cache_folder()
    blobs = LayeredBlobs(FolderBlobs(cache / "blobs"))
    with TemporaryDirectory(prefix="stageaudit-") as scratch:
        places = LocalPlaces(blobs, scratch=Path(scratch))
        request = resolve_request(document, base=base, places=places, tools=parse_tools(tools))
        budget = free_memory(choose_device(device))
        plan = local_plan(request, blobs=blobs, cache=cache, budget=budget)
        emit_plan(plan, as_json=as_json)


def _audit_here(
    document: dict[str, Any],
    *,
    base: Path,
    device: str,
    output: Path | None,
    as_json: bool,
    outside: Sequence[str],
    outside_seconds: float,
) -> None:
    """Run the audit in this process."""
    from auditor.edge.clock import SystemClock
    from auditor.edge.folder import FolderBlobs
    from auditor.edge.layered import LayeredBlobs
    from service.cli.local_audit import LocalPlaces, run_local
    from service.config import cache_folder, load_service_config
    from service.outside_tool import CommandTools, parse_tools

    tools = parse_tools(outside)
    cache = cache_folder()
    blobs = LayeredBlobs(FolderBlobs(cache / "blobs"))
    with TemporaryDirectory(prefix="stageaudit-") as scratch:
        places = LocalPlaces(blobs, scratch=Path(scratch))
        result = run_local(
            resolve_request(document, base=base, places=places, tools=tools),
            blobs=blobs,
            cache=cache,
            keys=load_service_config().keys_dir,
            device=device,
            clock=SystemClock(),
            quiet=as_json,
            outside=CommandTools(tools, limit_seconds=outside_seconds) if tools else None,
        )
    if result.bundle is None:
        notice("unsigned: there is no signing key; make one with `stageaudit keys init`")
    emit(
        result.report,
        as_json=as_json,
        human=lambda: print_report(result.report, console=console),
    )
    keep(result.document, output)


def _audit_there(
    document: dict[str, Any],
    *,
    base: Path,
    server: str | None,
    plan: bool,
    watch: bool,
    output: Path | None,
    as_json: bool,
) -> None:
    """Send the audit to a service."""
    from service.cli.remote_audit import (
        RemotePlaces,
        cancelled_on_interrupt,
        emit_plan,
        fetch_report,
        follow,
    )

    with connect(server) as client, TemporaryDirectory(prefix="stageaudit-") as scratch:
        places = RemotePlaces(client, scratch=Path(scratch), quiet=as_json)
        request = resolve_request(document, base=base, places=places)
        if plan:
            emit_plan(client.plan_audit(request), as_json=as_json)
            return
        name = client.create_audit(request)
        if not watch:
            emit({"audit": name}, as_json=as_json, human=lambda: _print_detached(name))
            return
        with cancelled_on_interrupt(client, name):
            notice(f"audit {name}")
            report = fetch_report(client, follow(client, name, quiet=as_json))
    emit(
        report.content,
        as_json=as_json,
        human=lambda: print_report(report.content, console=console),
    )
    notice(report.note)
    keep(report.bundle, output)


def _print_detached(name: str) -> None:
    console.print(f"audit {name} is accepted; it goes on without you", markup=False)
    console.print(f"stageaudit watch {name} -o report.json", markup=False)
