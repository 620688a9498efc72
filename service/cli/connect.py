"""How commands reach a service: ``--server``, else environment, client.toml, data folder."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from service.client import Client

ServerOption = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="HOST:PORT",
        help="The service; default: STAGEAUDIT_SERVER, client.toml, or the one on this machine.",
    ),
]


def connect(server: str | None) -> "Client":
    """Return a client of the service that is meant.

    Raises:
        UnavailableError: If nothing says where a service is.
    """
    from service.client import Client

    return Client(server)


def audit_name(client: "Client", text: str) -> str:
    """Return the full name of an audit that is given by its name or its last part."""
    from service.names import member_name

    return text if "/" in text else member_name(client.tenant, "audits", text)
