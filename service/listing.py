"""Lists that a service hands out in pages, as a whole, newest first."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, final

from auditor.stagelog.digest import Digest
from service.channel import Connection
from service.names import member_name
from service.pb.v1 import audit_pb2, model_pb2, report_pb2, stage_log_pb2
from service.views import view

Plain = dict[str, Any]
Row = TypeVar("Row")


@final
class Lists:
    """A tenant's lists, each row as plain JSON values.

    Args:
        connection: To the service.
        tenant: Whose.
    """

    def __init__(self, connection: Connection, *, tenant: str) -> None:
        self._connection = connection
        self._tenant = tenant
        self._parent = f"tenants/{tenant}"

    def stage_logs(self) -> list[Plain]:
        """Return all stage logs."""

        def page(token: str) -> tuple[list[Plain], str]:
            request = stage_log_pb2.ListStageLogsRequest(parent=self._parent, page_token=token)
            answer = self._connection.call(self._connection.stage_logs.ListStageLogs, request)
            return [view(log) for log in answer.stage_logs], answer.next_page_token

        return _all(page)

    def models(self) -> list[Plain]:
        """Return all models."""

        def page(token: str) -> tuple[list[Plain], str]:
            request = model_pb2.ListModelsRequest(parent=self._parent, page_token=token)
            answer = self._connection.call(self._connection.models.ListModels, request)
            return [view(model) for model in answer.models], answer.next_page_token

        return _all(page)

    def audits(self, log: Digest | None) -> list[Plain]:
        """Return all audits, or those of one log."""

        def page(token: str) -> tuple[list[Plain], str]:
            request = audit_pb2.ListAuditsRequest(
                parent=self._parent, page_token=token, stage_log=self._log_name(log)
            )
            answer = self._connection.call(self._connection.audits.ListAudits, request)
            return [view(audit) for audit in answer.audits], answer.next_page_token

        return _all(page)

    def reports(self, log: Digest | None) -> list[Plain]:
        """Return all reports, or those about one log, without their bundles."""

        def page(token: str) -> tuple[list[Plain], str]:
            request = report_pb2.ListReportsRequest(
                parent=self._parent, page_token=token, stage_log=self._log_name(log)
            )
            answer = self._connection.call(self._connection.reports.ListReports, request)
            return [view(report) for report in answer.reports], answer.next_page_token

        return _all(page)

    def _log_name(self, log: Digest | None) -> str:
        return "" if log is None else member_name(self._tenant, "stageLogs", log)


def _all(page: Callable[[str], tuple[Sequence[Row], str]]) -> list[Row]:
    """Return the rows of all pages.

    Args:
        page: From a page's token, "" for the first, to its rows and the token of the next, "" at
            the end.
    """
    rows: list[Row] = []
    token = ""
    while True:
        more, token = page(token)
        rows += more
        if not token:
            return rows
