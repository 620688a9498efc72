"""``stageaudit timestamp``: have an authority attest when a report or a review was signed."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from auditor.attest.bundle import attach_token, parse_bundle
from auditor.attest.timestamp import ProvenTime, granted_response, prove_time, timestamp_query
from auditor.attest.trust import TimestampAuthority, TrustFile
from service.cli.bundle_reader import read_bundle
from service.cli.output import JsonOption, console, emit, keep
from service.cli.trusting import TrustOption, chosen_trust
from service.keys import read_answer
from service.timestamping import ask_authority

TIMEOUT_SECONDS = 30.0


def timestamp(
    bundle: Annotated[
        Path, typer.Argument(help="The signed report or review.", exists=True, dir_okay=False)
    ],
    url: Annotated[
        str | None,
        typer.Option(help="Ask this authority; default: the only one with an address you trust."),
    ] = None,
    request: Annotated[
        Path | None,
        typer.Option(metavar="FILE.tsq", help="Ask nobody: write the query here and end."),
    ] = None,
    response: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.tsr", help="Ask nobody: attach this answer to an earlier query.",
            exists=True, dir_okay=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write here; default: into the bundle's own file."),
    ] = None,
    trust: TrustOption = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Add a time-stamp token (RFC 3161): proof that it was signed before a time.

    The authority must be in the trust file (`stageaudit keys trust-tsa`): a token that does not
    verify is not attached. What is sent is the SHA-256 of the signature.
    """
    data = read_bundle(bundle)
    signature = parse_bundle(data).signature
    if sum(option is not None for option in (url, request, response)) > 1:
        raise typer.BadParameter("give one of --url, --request and --response")
    if request is not None:
        keep(timestamp_query(signature), request)
        emit({"request": str(request)}, as_json=as_json, human=lambda: _print_query(request))
        return
    trusted = chosen_trust(trust, None)
    if response is not None:
        answer = read_answer(response)
    else:
        address = url or _only_address(trusted)
        answer = ask_authority(
            address, timestamp_query(signature), timeout_seconds=TIMEOUT_SECONDS
        )  # fmt: skip
    token = granted_response(answer)
    proven = prove_time(
        token, signature, authorities=trusted.timestamp_authorities, where="time-stamp token"
    )
    target = output or bundle
    keep(attach_token(data, token), target)
    emit(
        {"time": proven.moment.isoformat(), "authority": proven.authority.name,
         "accuracy_seconds": proven.accuracy.total_seconds(), "output": str(target)},
        as_json=as_json, human=lambda: _print_time(proven),
    )  # fmt: skip


def _only_address(trust: TrustFile) -> str:
    known: list[TimestampAuthority] = [a for a in trust.timestamp_authorities if a.url]
    if len(known) != 1 or known[0].url is None:
        raise typer.BadParameter(
            f"{len(known)} authorities of the trust file have an address; name one",
            param_hint="--url",
        )
    return known[0].url


def _print_query(request: Path) -> None:
    console.print(
        f"Have {request} answered by an authority, such as\n"
        f"  curl -sS -H 'Content-Type: application/timestamp-query' --data-binary @{request} "
        "-o answer.tsr URL\nand attach the answer with --response answer.tsr.",
        markup=False, soft_wrap=True,
    )  # fmt: skip


def _print_time(proven: ProvenTime) -> None:
    off = f", within {proven.accuracy.total_seconds():g} s" if proven.accuracy > timedelta() else ""
    console.print(
        f"Signed before {proven.moment.isoformat()}{off}, says {proven.authority.name}.",
        markup=False, soft_wrap=True,
    )  # fmt: skip
