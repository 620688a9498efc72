"""``stageaudit keys``: make a signing key, and say whose keys are trusted."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from auditor.attest.authorities import DAY_SECONDS
from auditor.attest.keys import KeyAlgorithm
from auditor.attest.trust import TrustedKey, TrustFile, parse_time, trust_authority, trust_key
from service.cli.output import JsonOption, console, emit
from service.cli.roles import Role
from service.config import config_folder, load_service_config
from service.keys import (
    TRUST_FILE,
    StoredKey,
    add_trusted_authority,
    add_trusted_key,
    create_signing_key,
    describe_signing_key,
    has_signing_key,
    read_authority,
    read_public_key,
    trust_or_empty,
)
from service.timestamping import checked_url

app = typer.Typer(no_args_is_help=True, help="Make a signing key; say whose keys are trusted.")

TrustOption = Annotated[
    Path | None,
    typer.Option("--trust", help="Trust file; default: the one in your configuration folder."),
]
FolderOption = Annotated[
    Path | None,
    typer.Option("--folder", help="Key folder; default: `keys` in the service's data folder."),
]


@app.command()
def init(
    name: Annotated[str, typer.Option(help="What the key is called in the trust file.")] = "local",
    algorithm: Annotated[
        KeyAlgorithm, typer.Option(help="ed25519, or p256 where FIPS asks for it.")
    ] = KeyAlgorithm.ED25519,
    encrypt: Annotated[
        bool, typer.Option("--encrypt", help="Ask for a password that protects the private key.")
    ] = False,
    folder: FolderOption = None,
    trust: TrustOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make this machine's signing key, once, and trust it. An existing key is kept."""
    key_folder = folder or load_service_config().keys_dir
    trust_file = trust or config_folder() / TRUST_FILE
    created = not has_signing_key(key_folder)
    if created:
        password = _ask_password() if encrypt else None
        stored = create_signing_key(key_folder, algorithm=algorithm, password=password)
    else:
        stored = describe_signing_key(key_folder)
    trusted = trust_or_empty(trust_file).find(stored.keyid)
    if trusted is None:
        # Without fractions of a second: a report made in this very second must not predate the key.
        now = datetime.now(UTC).replace(microsecond=0)
        trusted = trust_key(stored.public_pem, name=name, not_before=now if created else None)
        add_trusted_key(trust_file, trusted)
    emit(
        {
            "created": created,
            "keyid": stored.keyid,
            "algorithm": stored.algorithm,
            "private_path": str(stored.private_path),
            "public_path": str(stored.public_path),
            "trust_path": str(trust_file),
            "name": trusted.name,
        },
        as_json=as_json,
        human=lambda: _print_key(stored, trusted, trust_file, created),
    )


@app.command("list")
def list_keys(trust: TrustOption = None, as_json: JsonOption = False) -> None:
    """List the keys and the time-stamping authorities that are trusted."""
    trust_file = trust or config_folder() / TRUST_FILE
    found = trust_or_empty(trust_file)
    authorities = [
        authority.model_dump(mode="json", exclude_none=True)
        for authority in found.timestamp_authorities
    ]
    emit(
        {
            "trust_path": str(trust_file),
            "keys": [_plain(key) for key in found.keys],
            "timestamp_authorities": authorities,
        },
        as_json=as_json,
        human=lambda: _print_list(found, trust_file),
    )


@app.command("trust")
def trust_public_key(
    public: Annotated[
        Path, typer.Argument(metavar="PUB.pem", help="The key.", exists=True, dir_okay=False)
    ],
    name: Annotated[str, typer.Option(help="Whose key it is; shown when a report verifies.")],
    not_before: Annotated[
        str | None, typer.Option(metavar="TIME", help="Reports dated earlier do not verify.")
    ] = None,
    not_after: Annotated[
        str | None, typer.Option(metavar="TIME", help="Reports dated then or later do not verify.")
    ] = None,
    person: Annotated[
        str | None, typer.Option(help="Reviews by this key must name this person.")
    ] = None,
    role: Annotated[
        list[Role] | None,
        typer.Option(help="A role in which this key may review; repeatable. Default: any."),
    ] = None,
    trust: TrustOption = None,
    as_json: JsonOption = False,
) -> None:
    """Trust somebody's public key. Compare its keyid with the owner's by another way first."""
    trust_file = trust or config_folder() / TRUST_FILE
    key = trust_key(
        read_public_key(public),
        name=name,
        not_before=parse_time(not_before, where="--not-before") if not_before else None,
        not_after=parse_time(not_after, where="--not-after") if not_after else None,
        person=person,
        roles=[each.value for each in role or ()],
    )
    add_trusted_key(trust_file, key)
    emit(
        {"trust_path": str(trust_file), **_plain(key)},
        as_json=as_json,
        human=lambda: _print_trusted(key, trust_file),
    )


@app.command("trust-tsa")
def trust_timestamp_authority(
    certificates: Annotated[
        Path,
        typer.Argument(
            metavar="CHAIN.pem",
            help="Its root certificate and those below it. With its own time-stamping certificate, "
            "only that one may sign.",
            exists=True,
            dir_okay=False,
        ),
    ],
    name: Annotated[str, typer.Option(help="What it is called when a token verifies.")],
    url: Annotated[str | None, typer.Option(help="Where `timestamp` asks for tokens.")] = None,
    not_before: Annotated[
        str | None, typer.Option(metavar="TIME", help="Earlier tokens do not count.")
    ] = None,
    not_after: Annotated[
        str | None, typer.Option(metavar="TIME", help="Tokens of then or later do not count.")
    ] = None,
    max_delay: Annotated[
        int,
        typer.Option(
            metavar="SECONDS",
            help="How much later than a report's own date its token may be; a report that was "
            "stamped later counts as dated back.",
        ),
    ] = DAY_SECONDS,
    trust: TrustOption = None,
    as_json: JsonOption = False,
) -> None:
    """Trust a time-stamping authority (RFC 3161): its tokens prove when something was signed."""
    trust_file = trust or config_folder() / TRUST_FILE
    authority = trust_authority(
        read_authority(certificates),
        name=name,
        url=None if url is None else checked_url(url, where="--url"),
        not_before=parse_time(not_before, where="--not-before") if not_before else None,
        not_after=parse_time(not_after, where="--not-after") if not_after else None,
        max_delay_seconds=max_delay,
    )
    add_trusted_authority(trust_file, authority)

    def human() -> None:
        _print_line(f"Trusted time-stamping authority {authority.name}")
        for certificate in authority.chain:
            _print_line(f"  {certificate.subject.rfc4514_string()}")
        _print_line(f"in {trust_file}")

    emit(
        {"trust_path": str(trust_file), **authority.model_dump(mode="json", exclude_none=True)},
        as_json=as_json,
        human=human,
    )


def _ask_password() -> bytes:
    password: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    return password.encode()


def _plain(key: TrustedKey) -> dict[str, Any]:
    return key.model_dump(mode="json", exclude_none=True)


def _print_key(stored: StoredKey, trusted: TrustedKey, trust_file: Path, created: bool) -> None:
    verb = "Made" if created else "Kept the existing"
    _print_line(f"{verb} {stored.algorithm} key {stored.keyid}")
    _print_line(f"private  {stored.private_path}  (only you may read it; back it up)")
    _print_line(f"public   {stored.public_path}  (give it to whoever verifies)")
    _print_line(f"trusted  as {trusted.name} in {trust_file}")


def _print_trusted(key: TrustedKey, trust_file: Path) -> None:
    _print_line(f"Trusted {key.name}: {key.keyid}")
    _print_line(f"in {trust_file}")


def _print_list(trust: TrustFile, trust_file: Path) -> None:
    keys = trust.keys
    for authority in trust.timestamp_authorities:
        _print_line(f"time-stamping authority {authority.name}: {authority.url or 'no address'}")
    if not keys:
        _print_line(f"No keys are trusted yet ({trust_file}).")
        _print_line("Add one with `stageaudit keys trust PUB.pem --name NAME`.")
        return
    table = Table("name", "keyid", "status", "from", "until", box=None, title_justify="left")
    for key in keys:
        start, end = (
            "" if moment is None else moment.isoformat(timespec="seconds")
            for moment in (key.not_before, key.not_after)
        )
        table.add_row(escape(key.name), key.keyid, key.status, start, end)
    console.print(table)


def _print_line(text: str) -> None:
    # markup=False: names and paths may hold brackets. soft_wrap: lines are for copying.
    console.print(text, markup=False, soft_wrap=True)
