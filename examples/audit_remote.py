"""Push a log and data to a service, ask for an audit, watch it, keep the signed report.

Usage: python examples/audit_remote.py LOGDIR DATADIR REPORT.json [HOST:PORT]

Needs the base install only: no torch, no numpy. Without HOST:PORT it finds the service that
`stageaudit serve` runs on this machine.
"""

import sys
from pathlib import Path

from auditor.effects import Better, Query, QueryKind
from auditor.errors import AuditorError
from auditor.plan.request import AuditRequest
from service.client import Client


def main(log_folder: Path, data_folder: Path, report: Path, *, address: str | None) -> None:
    """Ask how the loss would be had each stage's updates not been executed."""
    with Client(address) as client:
        request = AuditRequest(
            log=client.push_log(log_folder),
            interventions="stages",
            queries=(
                Query(
                    name="loss",
                    kind=QueryKind.LOSS,
                    better=Better.LOWER,
                    data=client.push_evaluation_set(data_folder),
                ),
            ),
        )
        audit = client.create_audit(request)  # the service goes on even if this process dies
        for event in client.watch_audit(audit):
            print(event["sequence"], event["kind"], event["state"])
        finished = client.wait(audit)  # raises what the audit failed with
        report.write_bytes(client.get_report(finished["report"]))
        print(f"{report}: verify it with `stageaudit verify {report}`")


if __name__ == "__main__":
    try:
        paths, rest = sys.argv[1:4], sys.argv[4:]
        main(*map(Path, paths), address=rest[0] if rest else None)
    except AuditorError as error:
        sys.exit(str(error))
