"""``stageaudit cancel``: stop an audit; what it has finished stays for the next one."""

from service.cli.connect import ServerOption, audit_name, connect
from service.cli.output import JsonOption, console, emit
from service.cli.watch import AuditArgument


def cancel(audit: AuditArgument, server: ServerOption = None, as_json: JsonOption = False) -> None:
    """Cancel an audit. Cancelling one that has ended changes nothing."""
    with connect(server) as client:
        name = audit_name(client, audit)
        client.cancel(name)
    emit(
        {"audit": name, "cancel_requested": True},
        as_json=as_json,
        human=lambda: console.print(f"cancel requested: {name}", markup=False),
    )
