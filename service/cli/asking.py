"""Ask for an audit and read its answer, in this process or at a service, in one form."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Protocol, final

from typing_extensions import override

from auditor.plan.request import AuditRequest
from auditor.report.schema import Report
from auditor.stagelog.digest import Digest
from service.cli.connect import connect
from service.cli.output import notice
from service.cli.request_file import Places

if TYPE_CHECKING:
    from auditor.edge.layered import LayeredBlobs
    from service.client import Client


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What an audit leaves.

    Attributes:
        report: Its figures.
        document: The bytes to keep: the signed bundle, or the bare report where no key signs.
        note: One line about the signature.
    """

    report: Report
    document: bytes
    note: str


class Asker(Protocol):
    """Where audits run."""

    @property
    def places(self) -> Places:
        """Where the data that a request names is put."""

    def ask(self, request: AuditRequest) -> Answer:
        """Run an audit to its end."""

    def fetch(self, digest: Digest, *, size_bytes: int) -> memoryview:
        """Return a file that an audit made, checked against its digest."""


@contextmanager
def asking_here(*, device: str, quiet: bool) -> Iterator[Asker]:
    """Yield an asker that computes in this process and signs with the user's key if there is one.

    Args:
        device: ``cpu``, ``cuda:N`` or ``auto``.
        quiet: Show no progress.
    """
    from auditor.edge.folder import FolderBlobs
    from auditor.edge.layered import LayeredBlobs
    from service.config import cache_folder

    cache = cache_folder()
    with TemporaryDirectory(prefix="stageaudit-") as scratch:
        yield _Here(
            LayeredBlobs(FolderBlobs(cache / "blobs")),
            cache=cache,
            scratch=Path(scratch),
            device=device,
            quiet=quiet,
        )


@contextmanager
def asking_there(server: str | None, *, quiet: bool) -> Iterator[Asker]:
    """Yield an asker that sends audits to a service; Ctrl-C cancels the one that runs."""
    with connect(server) as client, TemporaryDirectory(prefix="stageaudit-") as scratch:
        yield _There(client, scratch=Path(scratch), quiet=quiet)


@final
class _Here(Asker):
    def __init__(
        self, blobs: "LayeredBlobs", *, cache: Path, scratch: Path, device: str, quiet: bool
    ) -> None:
        from service.cli.local_audit import LocalPlaces

        self._blobs, self._cache, self._device, self._quiet = blobs, cache, device, quiet
        self._places = LocalPlaces(blobs, scratch=scratch)

    @property
    @override
    def places(self) -> Places:
        return self._places

    @override
    def ask(self, request: AuditRequest) -> Answer:
        from auditor.edge.clock import SystemClock
        from service.cli.local_audit import run_local
        from service.config import load_service_config

        result = run_local(
            request,
            blobs=self._blobs,
            cache=self._cache,
            keys=load_service_config().keys_dir,
            device=self._device,
            clock=SystemClock(),
            quiet=self._quiet,
        )
        signed = "signed with your key" if result.bundle is not None else (
            "unsigned: there is no signing key; make one with `stageaudit keys init`"
        )  # fmt: skip
        return Answer(report=result.report, document=result.document, note=signed)

    @override
    def fetch(self, digest: Digest, *, size_bytes: int) -> memoryview:
        del size_bytes  # a folder knows it
        return self._blobs.read(digest)


@final
class _There(Asker):
    def __init__(self, client: "Client", *, scratch: Path, quiet: bool) -> None:
        from service.cli.remote_audit import RemotePlaces

        self._client, self._quiet = client, quiet
        self._places = RemotePlaces(client, scratch=scratch, quiet=quiet)

    @property
    @override
    def places(self) -> Places:
        return self._places

    @override
    def ask(self, request: AuditRequest) -> Answer:
        from service.cli.remote_audit import cancelled_on_interrupt, fetch_report, follow

        name = self._client.create_audit(request)
        with cancelled_on_interrupt(self._client, name):
            notice(f"audit {name}")
            opened = fetch_report(self._client, follow(self._client, name, quiet=self._quiet))
        return Answer(report=opened.content, document=opened.bundle, note=opened.note)

    @override
    def fetch(self, digest: Digest, *, size_bytes: int) -> memoryview:
        return memoryview(self._client.get_blob(digest, size=size_bytes))
