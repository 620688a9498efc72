"""What a service holds, and what a refusal has to say: for tests of bad input."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from auditor.edge.folder import BLOBS_FOLDER, FolderBlobs, write_log
from auditor.errors import AuditorError
from auditor.stagelog.digest import Digest
from service.client import Client
from tests.support.builders import RecordedRun
from tests.support.job_service import evaluation_blobs
from tests.support.served import Served


@dataclass(frozen=True, kw_only=True)
class Held:
    """Everything that a service could have kept of a request."""

    logs: tuple[str, ...]
    models: tuple[str, ...]
    audits: tuple[str, ...]
    reports: tuple[str, ...]
    uploads: tuple[str, ...]


def held_by(service: Served, client: Client) -> Held:
    def names(rows: list[dict[str, str]]) -> tuple[str, ...]:
        return tuple(sorted(row["name"] for row in rows))

    return Held(
        logs=names(client.list_logs()),
        models=names(client.list_models()),
        audits=names(client.list_audits()),
        reports=names(client.list_reports()),
        uploads=tuple(sorted(path.name for path in service.config.uploads_dir.iterdir())),
    )


def blobs_of(service: Served) -> frozenset[str]:
    """Return the names of all stored blobs and of files on their way to be one."""
    folder = service.config.data_dir / "sha256"
    return frozenset(path.name for path in folder.rglob("*") if path.is_file())


@dataclass
class Refusal:
    """The error that a block raised; filled when the block ends."""

    error: AuditorError | None = None

    def says(self, kind: type[AuditorError], where: str, *, expected: str, found: str) -> None:
        """Assert the class, the place, words of expectation and finding, and a remedy."""
        error = self.error
        assert type(error) is kind
        assert error.where == where
        assert expected in error.expected
        assert found in error.found
        assert error.remedy.endswith(".")


@contextmanager
def refused(service: Served, client: Client) -> Iterator[Refusal]:
    """Catch the error of a block, and assert that the service holds what it held before."""
    before = held_by(service, client)
    refusal = Refusal()
    with pytest.raises(AuditorError) as caught:
        yield refusal
    refusal.error = caught.value
    assert held_by(service, client) == before


def write_folder(run: RecordedRun, folder: Path) -> Path:
    """Write a recorded run, which may have been changed, as a log folder."""
    blobs = FolderBlobs(folder / BLOBS_FOLDER)
    for digest in run.log.blobs():
        blobs.write(run.blobs.read(Digest(digest)))
    write_log(folder, run.log)
    return folder


def push_evaluation(client: Client, run: RecordedRun, evaluation: Digest | None = None) -> None:
    """Send an evaluation set that lies in the run's store."""
    for digest in evaluation_blobs(run, evaluation):
        client.push_blob(bytes(run.blobs.read(Digest(digest))))
