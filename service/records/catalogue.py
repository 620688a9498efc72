"""Blobs held, logs, models and reports in SQL."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Table,
    and_,
    delete,
    insert,
    or_,
    select,
    update,
)

from auditor.errors import ArtifactMissingError
from auditor.stagelog.digest import Digest
from service.records.audits import add_blob_refs
from service.records.base import ModelRow, Position, ReportRow, RequestKey, StageLogRow
from service.records.checks import standings, with_standing
from service.records.engine import Database
from service.records.plans import chunks
from service.records.requests import ensure_tenant, store_answer, stored_answer
from service.records.tables import blob_ref, model, report, stage_log

NOTED_SECONDS = 3600.0
"""A blob's use is noted at most this often: looking must not cost a write each time."""


@final
class SqlCatalogue:
    """The :class:`service.records.base.CatalogueRecords` of a database; thread-safe.

    Args:
        database: Where the rows are.
        now: Seconds since 1970.
    """

    def __init__(self, database: Database, *, now: Callable[[], float]) -> None:
        self._database = database
        self._now = now

    def held_blobs(self, tenant: str, digests: Sequence[Digest]) -> Mapping[Digest, int]:
        """Return the length of each of these blobs that the tenant holds, and note their use."""
        wanted = list(dict.fromkeys(digests))

        def look(connection: Connection) -> tuple[dict[Digest, int], list[Digest]]:
            held: dict[Digest, int] = {}
            stale: list[Digest] = []
            for chunk in chunks(wanted):
                query = select(blob_ref).where(_theirs(tenant, chunk))
                for row in connection.execute(query):
                    held[Digest(row.digest)] = row.size
                    if row.last_seen < self._now() - NOTED_SECONDS:
                        stale.append(Digest(row.digest))
            return held, stale

        def note(connection: Connection) -> None:
            for chunk in chunks(stale):
                touched = update(blob_ref).where(_theirs(tenant, chunk))
                connection.execute(touched.values(last_seen=self._now()))

        held, stale = self._database.read(look)
        if stale:
            self._database.write("note_blobs", note)
        return held

    def add_blobs(self, tenant: str, sizes: Mapping[Digest, int]) -> None:
        """Note that the tenant has sent these blobs; twice is harmless."""

        def work(connection: Connection) -> None:
            now = self._now()
            ensure_tenant(connection, tenant, now=now)
            add_blob_refs(connection, tenant, sizes, now=now)

        self._database.write("add_blobs", work)

    def add_stage_log(
        self, tenant: str, row: StageLogRow, *, request: RequestKey | None
    ) -> StageLogRow:
        """Store the log unless it is stored, and return what is stored.

        Raises:
            RequestIdReusedError: If the request id was used with another digest.
        """
        values = {
            "run": row.run,
            "stages": json.dumps(row.stages),
            "steps": row.steps,
            "level": row.level,
            "size_bytes": row.size_bytes,
        }
        return self._database.write(
            "add_stage_log",
            lambda c: with_standing(
                c,
                tenant,
                _stage_log(
                    self._add(
                        c, stage_log, tenant, digest=row.digest, values=values, request=request
                    )
                ),
            ),
        )

    def stage_log(self, tenant: str, digest: Digest) -> StageLogRow:
        """Return one log.

        Raises:
            ArtifactMissingError: If the tenant has no such log.
        """
        return self._database.read(
            lambda c: with_standing(
                c, tenant, _stage_log(_one(c, stage_log, tenant=tenant, digest=digest))
            )
        )

    def stage_logs(
        self, tenant: str, *, after: Position | None, limit: int
    ) -> tuple[StageLogRow, ...]:
        """Return at most ``limit`` logs, newest first."""
        query = _page(stage_log, tenant, after=after, limit=limit)
        return self._database.read(
            lambda c: standings(c, tenant, map(_stage_log, c.execute(query).all()))
        )

    def delete_stage_log(self, tenant: str, digest: Digest) -> None:
        """Remove one log from the list.

        Raises:
            ArtifactMissingError: If the tenant has no such log.
        """
        self._database.write(
            "delete_stage_log", lambda c: _delete(c, stage_log, tenant=tenant, digest=digest)
        )

    def add_model(self, tenant: str, row: ModelRow, *, request: RequestKey | None) -> ModelRow:
        """Store the model unless it is stored, and return what is stored.

        Raises:
            RequestIdReusedError: If the request id was used with another digest.
        """
        values = {
            "format": row.format,
            "tensors": row.tensors,
            "elements": row.elements,
            "size_bytes": row.size_bytes,
        }
        return self._database.write(
            "add_model",
            lambda c: _model(
                self._add(c, model, tenant, digest=row.digest, values=values, request=request)
            ),
        )

    def model(self, tenant: str, digest: Digest) -> ModelRow:
        """Return one model.

        Raises:
            ArtifactMissingError: If the tenant has no such model.
        """
        return self._database.read(lambda c: _model(_one(c, model, tenant=tenant, digest=digest)))

    def models(self, tenant: str, *, after: Position | None, limit: int) -> tuple[ModelRow, ...]:
        """Return at most ``limit`` models, newest first."""
        query = _page(model, tenant, after=after, limit=limit)
        return self._database.read(lambda c: tuple(map(_model, c.execute(query).all())))

    def delete_model(self, tenant: str, digest: Digest) -> None:
        """Remove one model from the list.

        Raises:
            ArtifactMissingError: If the tenant has no such model.
        """
        self._database.write(
            "delete_model", lambda c: _delete(c, model, tenant=tenant, digest=digest)
        )

    def report(self, tenant: str, digest: Digest) -> ReportRow:
        """Return one report.

        Raises:
            ArtifactMissingError: If the tenant has no such report.
        """
        return self._database.read(lambda c: _report(_one(c, report, tenant=tenant, digest=digest)))

    def reports(
        self, tenant: str, *, log: Digest | None, after: Position | None, limit: int
    ) -> tuple[ReportRow, ...]:
        """Return at most ``limit`` reports, of all logs or of one, newest first."""
        query = _page(report, tenant, after=after, limit=limit)
        if log is not None:
            query = query.where(report.c.log_digest == log)
        return self._database.read(lambda c: tuple(map(_report, c.execute(query).all())))

    def _add(
        self,
        connection: Connection,
        table: Table,
        tenant: str,
        *,
        digest: Digest,
        values: Mapping[str, object],
        request: RequestKey | None,
    ) -> Row[Any]:
        now = self._now()
        ensure_tenant(connection, tenant, now=now)
        earlier = stored_answer(connection, tenant, request, now=now)
        known = connection.execute(_where(table, tenant, digest)).one_or_none()
        if known is None:
            row = {"tenant": tenant, "digest": digest, "created": now, **values}
            connection.execute(insert(table).values(row))
            known = connection.execute(_where(table, tenant, digest)).one()
        if earlier is None:
            store_answer(connection, tenant, request, answer=digest, now=now)
        return known


def _theirs(tenant: str, digests: Sequence[Digest]) -> ColumnElement[bool]:
    return and_(blob_ref.c.tenant == tenant, blob_ref.c.digest.in_(digests))


def _where(table: Table, tenant: str, digest: Digest) -> Select[Any]:
    return select(table).where(table.c.tenant == tenant, table.c.digest == digest)


def _one(connection: Connection, table: Table, *, tenant: str, digest: Digest) -> Row[Any]:
    row = connection.execute(_where(table, tenant, digest)).one_or_none()
    if row is None:
        raise _missing(table, digest)
    return row


def _delete(connection: Connection, table: Table, *, tenant: str, digest: Digest) -> None:
    removed = connection.execute(
        delete(table).where(table.c.tenant == tenant, table.c.digest == digest)
    )
    if removed.rowcount != 1:
        raise _missing(table, digest)


def _missing(table: Table, digest: Digest) -> ArtifactMissingError:
    name = table.name.replace("_", " ")
    return ArtifactMissingError(
        f"{name} {digest}",
        expected=f"a {name} of this tenant",
        found="none",
        remedy="List what is there and correct the digest."
        if table.name == "report"  # which nobody pushes
        else "Push it first, or list what is there.",
    )


def _page(table: Table, tenant: str, *, after: Position | None, limit: int) -> Select[Any]:
    query = (
        select(table)
        .where(table.c.tenant == tenant)
        .order_by(table.c.created.desc(), table.c.digest.desc())
        .limit(limit)
    )
    if after is None:
        return query
    older = table.c.created < after.created
    same = and_(table.c.created == after.created, table.c.digest < after.digest)
    return query.where(or_(older, same))


def _stage_log(row: Row[Any]) -> StageLogRow:
    return StageLogRow(
        digest=Digest(row.digest),
        run=row.run,
        stages=tuple(json.loads(row.stages)),
        steps=row.steps,
        level=row.level,
        size_bytes=row.size_bytes,
        created=row.created,
    )


def _model(row: Row[Any]) -> ModelRow:
    formats: dict[str, Literal["safetensors", "onnx"]] = {
        "safetensors": "safetensors",
        "onnx": "onnx",
    }
    return ModelRow(
        digest=Digest(row.digest),
        format=formats[row.format],
        tensors=row.tensors,
        elements=row.elements,
        size_bytes=row.size_bytes,
        created=row.created,
    )


def _report(row: Row[Any]) -> ReportRow:
    return ReportRow(
        digest=Digest(row.digest),
        bundle_digest=Digest(row.bundle_digest),
        bundle_size_bytes=row.bundle_size_bytes,
        audit=row.audit,
        log_digest=Digest(row.log_digest),
        keyid=row.keyid,
        created=row.created,
    )
