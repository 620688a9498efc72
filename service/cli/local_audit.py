"""``stageaudit audit --local``: the same plan in this process, no service, no database."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Literal, final

from auditor.attest.bundle import sign_report
from auditor.attest.report_subjects import report_subjects
from auditor.attest.trust import time_text
from auditor.checks import needs_extra
from auditor.edge.clock import Clock
from auditor.edge.folder import read_log
from auditor.edge.layered import LayeredBlobs
from auditor.edge.result_index import FolderIndex
from auditor.errors import InternalError
from auditor.plan.actions import BindingFinding, key_of
from auditor.plan.asked import plain_request
from auditor.plan.request import AuditRequest
from auditor.report.schema import Report, RunFacts
from auditor.stagelog.digest import Digest, canonical_bytes
from service.cli.evaluation_folder import open_evaluation_set
from service.cli.output import progress
from service.keys import has_signing_key, load_signing_key

if TYPE_CHECKING:
    from auditor.audit.outside import OutsideEvaluator


@final
class LocalPlaces:
    """Puts the data of a request where a local audit finds it."""

    def __init__(self, blobs: LayeredBlobs, *, scratch: Path) -> None:
        self._blobs = blobs
        self._scratch = scratch

    def log(self, folder: Path) -> Digest:
        """Read a log folder and return the log's identity."""
        log, _, blobs = read_log(folder)
        self._blobs.add(blobs)
        return self._blobs.write(canonical_bytes(log))

    def evaluation_set(self, path: Path) -> Digest:
        """Read an evaluation set and return its identity."""
        found = open_evaluation_set(path, scratch=self._scratch)
        self._blobs.add(found.blobs)
        return self._blobs.write(found.manifest)

    def model(self, path: Path) -> Digest:
        """Copy a model file and return its digest."""
        return self._blobs.write(path.read_bytes())

    def metric(self, path: Path) -> Digest:
        """Copy the ONNX graph of a metric and return its digest."""
        return self._blobs.write(path.read_bytes())


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalResult:
    """What a local audit leaves: a report, and its signed bundle if there is a key."""

    report: Report
    bundle: bytes | None

    @property
    def document(self) -> bytes:
        """The bytes for a file: the bundle, or the report's canonical JSON without one."""
        return canonical_bytes(self.report) if self.bundle is None else self.bundle


def run_local(
    request: AuditRequest,
    *,
    blobs: LayeredBlobs,
    cache: Path,
    keys: Path,
    device: str,
    clock: Clock,
    quiet: bool = False,
    outside: "OutsideEvaluator | None" = None,
) -> LocalResult:
    """Run an audit in this process and sign its report if there is a key.

    Args:
        request: What is asked, of digests only.
        blobs: Holds the data; receives results.
        cache: Folder that remembers finished actions across audits.
        keys: Key folder; without a signing key the report stays unsigned.
        device: ``cpu``, ``cuda:N``, or ``auto`` for the first CUDA device if there is one.
        clock: When the audit was made, and how long it took.
        quiet: Show no progress.
        outside: Runs the tools that the command line named.

    Returns:
        The report and its bundle.

    Raises:
        AuditorError: If the request is not answerable or an action fails.
    """
    with needs_extra("server", purpose="A local audit"):
        from auditor.audit.executions import executions_of
        from auditor.audit.local import LocalProgress, answer
    began = clock.monotonic()
    index = FolderIndex(cache / "results")
    with progress("auditing", unit="actions", quiet=quiet) as update:

        def on_progress(state: LocalProgress) -> None:
            update(state.actions_done, state.actions_total)

        use_own_threads()
        chosen = choose_device(device)
        answered = answer(
            request,
            blobs=blobs,
            index=index,
            device=chosen,
            on_progress=on_progress,
            outside=outside,
            memory_bytes=free_memory(chosen),
        )
    finished = answered.report.model_copy(
        update={
            "asked": plain_request(request),
            "run": RunFacts(
                created=timestamp(clock.now()),
                id=token_hex(16),
                mode="local",
                operator=request.operator,
                wall_seconds=round(clock.monotonic() - began, 3),
                executions=executions_of(
                    {key: index.execution(key) for key in answered.actions}, blobs=blobs
                ),
            ),
        }
    )
    if not has_signing_key(keys):
        return LocalResult(report=finished, bundle=None)
    signer = load_signing_key(keys)
    return LocalResult(
        report=finished,
        bundle=sign_report(
            finished,
            report_subjects(finished, model_format=_model_format(request, blobs, index)),
            signer,
        ),
    )


def use_own_threads() -> None:
    """Compute with as many threads as a worker of the service would."""
    import torch

    from service.executors.devices import threads_a_worker

    torch.set_num_threads(threads_a_worker(None, workers=1))


def choose_device(device: str) -> str:
    """Return the torch device meant by ``auto``, else the device itself."""
    if device != "auto":
        return device
    import torch

    return "cuda:0" if torch.cuda.is_available() else "cpu"


def free_memory(device: str) -> int | None:
    """Return the bytes that a group may use of a device now; None if that is not known."""
    from service.executors.device_memory import meter_of

    return meter_of(device).budget_bytes(workers=1)


def timestamp(moment: datetime) -> str:
    """Return a UTC time as reports write it."""
    return time_text(moment, timespec="milliseconds")


def _model_format(
    request: AuditRequest, blobs: LayeredBlobs, index: FolderIndex
) -> Literal["safetensors", "onnx"] | None:
    """Return how the model artifact is written, as the action that compared it found."""
    from auditor.audit.binding import binding_of

    binding = binding_of(request)
    if binding is None:
        return None
    result = index.get(key_of(binding))
    if result is None:
        raise InternalError(
            "report.model",
            expected="an action that compared the artifact with the log",
            found="none",
            remedy="Report this together with the audit request.",
        )
    return BindingFinding.model_validate_json(bytes(blobs.read(result))).format
