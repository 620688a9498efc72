"""Where actions run: the protocol of executors and what they report."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from auditor.plan.actions import ActionKey, ActionSpec
from auditor.stagelog.digest import Digest
from service.failures import Failure
from service.records.jobs import LeasedGroup
from service.scheduler.leases import Death


class Outcome(Protocol):
    """The result of one action, as the library returns it."""

    @property
    def digest(self) -> Digest:
        """The stored result."""

    @property
    def gradient_examples(self) -> int:
        """What it cost."""

    @property
    def execution(self) -> Digest | None:
        """The stored record of the group that it was computed in, if the library keeps one."""


class Halfway(Protocol):
    """An action inside its computation, as the library stores it."""

    @property
    def key(self) -> ActionKey:
        """The action."""

    @property
    def step(self) -> int:
        """How many of its steps are done."""

    @property
    def data(self) -> bytes:
        """What it goes on from."""


class Engine(Protocol):
    """Computes groups of actions on one device; :class:`auditor.audit.execute.Worker` is one."""

    def execute(
        self,
        specs: Sequence[ActionSpec],
        *,
        results: Mapping[ActionKey, Digest],
        on_block: Callable[[int, int], None],
    ) -> Sequence[Outcome]:
        """Return the results of actions that share one group key, in order.

        Actions that are executed again after ``on_block`` raised go on where they were.
        """

    def forget(self) -> None:
        """Let go of actions that stopped: nobody wants them any more."""

    def save(self) -> Iterator[Halfway]:
        """Yield where actions under way are that have moved since the last call; for ``on_block``.

        What is yielded counts as saved once the next one is asked for.
        """

    def resume(self, spec: ActionSpec, data: bytes | memoryview) -> int:
        """Let an action go on, when it is executed next, from what :meth:`save` gave.

        Returns:
            How many steps need not be computed again; 0 where the data is not usable.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerReady:
    """A new worker takes groups from now on."""

    worker: str
    device: str
    memory_bytes: int | None = None  #: what its groups may use


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerBeat:
    """A worker is alive."""

    worker: str


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerEnded:
    """A worker is gone, with whatever it held."""

    worker: str
    device: str
    death: Death


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupStarted:
    """A group is on the device."""

    worker: str
    group: int


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupStepped:
    """How far a group is."""

    worker: str
    group: int
    done: int
    total: int


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupResumed:
    """A group went on from saved states; ``steps`` were not computed again, over all lanes."""

    worker: str
    group: int
    steps: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionSaved:
    """Where one action can go on from."""

    key: ActionKey
    fence: int
    step: int
    digest: Digest


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupSaved:
    """States of a running group were stored."""

    worker: str
    group: int
    saved: tuple[ActionSaved, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionDone:
    """One action's result."""

    key: ActionKey
    fence: int
    digest: Digest
    size: int
    gradient_examples: int
    execution: Digest | None = None  #: the stored record of its group


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupDone:
    """Results of a group; actions cancelled meanwhile have none."""

    worker: str
    group: int
    results: tuple[ActionDone, ...]
    compute_seconds: float
    peak_bytes: int | None = None  #: device memory at most


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupFailed:
    """A typed error ended a group."""

    worker: str
    group: int
    failure: Failure


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupAbandoned:
    """A group ended at a block boundary without results."""

    worker: str
    group: int


WorkerEvent = (
    WorkerReady
    | WorkerBeat
    | WorkerEnded
    | GroupStarted
    | GroupStepped
    | GroupResumed
    | GroupSaved
    | GroupDone
    | GroupFailed
    | GroupAbandoned
)


class Executor(Protocol):
    """Runs groups on workers, one a device, and reports what happens to them.

    A worker's name is new whenever its process is. ``report`` may be called from any thread.
    """

    def start(self, report: Callable[[WorkerEvent], None]) -> None:
        """Start the workers; each reports when it is ready."""

    def submit(self, worker: str, group_id: int, group: LeasedGroup) -> None:
        """Queue a group on a worker; nothing happens if the worker has ended."""

    def cancel(self, worker: str, group_id: int, keys: Sequence[ActionKey]) -> None:
        """Tell a worker that nobody wants these actions of the group any more."""

    def drain(self) -> None:
        """Let every worker save and abandon its groups at the next block boundary."""

    def end(self, worker: str) -> None:
        """End a worker that no longer answers; another one takes its place."""
