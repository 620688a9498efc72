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
    from service.config import resolve_endpoint

    endpoint = resolve_endpoint(server=server)
    return Client(endpoint.address, token=endpoint.token)
