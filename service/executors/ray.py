"""Worker processes on the hosts of a Ray cluster, each beside an actor that passes on its messages.

An actor computes nothing. Its worker process is the one that the local executor starts, so that a
crash has an exit code, and the actor only moves bytes: the messages of ``wire.py`` as they are.
Ray restarts actors and retries nothing; what was lost is for the job table to hand out again.
"""

import logging
import platform
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, final

import ray
import structlog
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    OutOfMemoryError,
    RayError,
)

from auditor.errors import UnavailableError
from service.executors.local import ProcessExecutor, WorkerSettings
from service.executors.process import Ended, LocalProcess, WorkerProcess, whole_lines
from service.executors.ray_head import RayHead
from service.executors.ray_hosts import (
    Expected,
    Marker,
    Resources,
    require_room,
    room_on,
    sharing,
    unfit,
)
from service.executors.wire import Configure, encode
from service.failures import Failure, failure_of
from service.ray_config import RayConfig
from service.scheduler.leases import Death
from service.versions import installed_versions

_TALK, _LISTEN = "talk", "listen"
_POLL_SECONDS = 0.5
_STOP_SECONDS = 10.0
_CONNECT_SECONDS = 5.0
_PLACED_SECONDS = 5.0

_log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True, slots=True)
class Begun:
    """What an actor says when it is asked to start a worker: its id, or why there is none."""

    process_id: int | None = None
    problem: Failure | None = None


@final
class WorkerActor:
    """On a host of the cluster: one worker process, whose pipes it holds.

    The calls of a group run one after the other in the order in which they were made; the two
    groups run side by side. ``token`` names the worker that is meant: what comes too late for one
    never reaches the next.
    """

    def __init__(self) -> None:
        self._token = ""
        self._process: LocalProcess | None = None

    @ray.method(concurrency_group=_TALK)
    def host(self, token: str) -> str:
        """Return Ray's name of this host, whichever worker is meant."""
        del token
        return str(ray.get_runtime_context().get_node_id())

    @ray.method(concurrency_group=_TALK)
    def begin(self, token: str, configure: bytes, expected: Expected) -> Begun:
        """Start a worker process, after checking that this host will do."""
        problem = unfit(expected, host=platform.node())
        if problem is not None:
            return Begun(problem=failure_of(problem))
        if self._process is not None:
            self._process.kill()
        self._token, self._process = token, LocalProcess()
        self._process.send(configure)
        return Begun(process_id=self._process.process_id)

    @ray.method(concurrency_group=_TALK)
    def tell(self, token: str, line: bytes) -> None:
        """Pass a message to the worker."""
        if (process := self._named(token)) is not None:
            process.send(line)

    @ray.method(concurrency_group=_TALK)
    def kill(self, token: str) -> None:
        """End the worker at once."""
        if (process := self._named(token)) is not None:
            process.kill()

    @ray.method(concurrency_group=_TALK)
    def close_input(self, token: str) -> None:
        """End the worker's pipe."""
        if (process := self._named(token)) is not None:
            process.close_input()

    @ray.method(concurrency_group=_LISTEN)
    def hear(self, token: str) -> bytes:
        """Return what the worker says next, once it says something; nothing when it has ended."""
        process = self._named(token)
        return b"" if process is None else process.read()

    @ray.method(concurrency_group=_LISTEN)
    def ended(self, token: str) -> Ended:
        """Return how the worker ended."""
        process = self._named(token)
        if process is None:
            return Ended(death=Death.KILLED, cause="its actor was restarted")
        return process.wait()

    def _named(self, token: str) -> LocalProcess | None:
        return self._process if token == self._token else None


@final
class _Place:
    """Room for one worker: an actor, which Ray starts again wherever there is room."""

    def __init__(self, config: RayConfig) -> None:
        remote: Any = ray.remote  # its types know of no concurrency groups
        self._make = remote(
            concurrency_groups={_TALK: 1, _LISTEN: 1},
            max_restarts=-1,
            max_task_retries=0,
            num_cpus=config.cpus_per_worker,
            num_gpus=config.gpus_per_worker,
        )(WorkerActor)
        self.renew()

    def renew(self) -> None:
        """Make a new actor; the one before ends with its last reference."""
        self._actor = self._make.remote()

    def restart(self) -> None:
        """End the actor and let Ray start it again."""
        ray.kill(self._actor, no_restart=False)

    def close(self) -> None:
        """End the actor for good."""
        ray.kill(self._actor)

    def call(self, method: str, *arguments: object) -> Any:  # noqa: ANN401 - a reference to any answer
        """Call a method of the actor and return a reference to its answer."""
        return getattr(self._actor, method).remote(*arguments)


@final
class RayProcess:
    """A :class:`WorkerProcess` beside an actor.

    A call that is lost with its actor is not repeated: the worker has ended then. Only its start
    is, until the cluster has a place for the actor again.

    Args:
        place: Where it runs.
        configure: Returns the encoded first message for a host by Ray's name.
        expected: What its host must have.
    """

    def __init__(
        self, place: "_Place", *, configure: Callable[[str], bytes], expected: Expected
    ) -> None:
        self._place = place
        self._configure = configure
        self._expected = expected
        self._token = secrets.token_hex(8)
        self._closing = threading.Event()
        self._give_up_at = float("inf")
        self._process_id: int | None = None
        self._ended: Ended | None = None

    @property
    def process_id(self) -> int | None:
        """Its id on its host."""
        return self._process_id

    def send(self, line: bytes) -> None:
        """Tell it something."""
        self._call("tell", line)

    def lines(self) -> Iterator[bytes]:
        """Yield the messages that it sends, until it ends."""
        try:
            begun = self._begin()
            if begun.problem is None:
                self._process_id = begun.process_id
                yield from whole_lines(iter(lambda: self._answer("hear"), b""))
                self._ended = self._answer("ended")
            else:
                problem = begun.problem
                self._ended = Ended(death=Death.EXIT, cause=f"{problem.where}: {problem.found}")
                _log.error("a host cannot run workers", **problem.to_plain())
        except RayError as error:
            if isinstance(error, ActorDiedError):  # for good: somebody forbade its restart
                self._place.renew()
            self._ended = lost_with(error)
        except TimeoutError:
            self._place.restart()
            self._ended = Ended(death=Death.KILLED, cause="its actor did not answer")

    def wait(self) -> Ended:
        """Return how it ended."""
        return self._ended or Ended(death=Death.KILLED, cause="nobody listened to it")

    def kill(self) -> None:
        """End it at once; if its actor does not manage to, with its actor."""
        self._call("kill")
        self._give_up_at = time.monotonic() + _STOP_SECONDS

    def close_input(self) -> None:
        """End its pipe."""
        self._closing.set()
        self._call("close_input")
        patience = 0.0 if self._process_id is None else _STOP_SECONDS
        self._give_up_at = time.monotonic() + patience

    def _call(self, method: str, *arguments: object) -> Any:  # noqa: ANN401 - a reference to any answer
        return self._place.call(method, self._token, *arguments)

    def _begin(self) -> Begun:
        while True:
            try:
                configure = self._configure(self._answer("host"))
                begun: Begun = self._answer("begin", configure, self._expected)
            except ActorUnavailableError:
                if self._closing.wait(_POLL_SECONDS):
                    raise
            else:
                return begun

    def _answer(self, method: str, *arguments: object) -> Any:  # noqa: ANN401 - whatever the actor returns
        reference = self._call(method, *arguments)
        while not ray.wait([reference], timeout=_POLL_SECONDS)[0]:
            if time.monotonic() > self._give_up_at:
                raise TimeoutError
        return ray.get(reference)


def lost_with(error: RayError) -> Ended:
    """Return what the end of an actor says of its worker.

    The actor computes nothing, so its end is no fault of an action, unless memory was short.
    """
    first = str(error).strip().partition("\n")[0]
    memory = isinstance(error, OutOfMemoryError) or "low on memory" in str(error)
    return Ended(
        death=Death.FAULT if memory else Death.KILLED, cause=f"{type(error).__name__}: {first}"
    )


@final
class RayCluster:
    """The :class:`Hosts` of a Ray cluster, which must share the data folder.

    Args:
        config: Which cluster, and how much of it.
        data_dir: The folder, under the same path everywhere.
        front_end: Which front end this is among those that share the folder.
    """

    def __init__(self, config: RayConfig, *, data_dir: Path, front_end: str) -> None:
        self._config = config
        self._marker = Marker(data_dir, front_end=front_end)
        self._expected = Expected(
            marker=self._marker.path, secret=self._marker.secret, versions=installed_versions()
        )
        self._places: tuple[_Place, ...] = ()
        self._head: RayHead | None = None
        self._connected = False

    def open(self) -> None:
        """Connect to the cluster, or start one here, and make an actor a worker.

        Raises:
            UnavailableError: If there is no cluster, or no room in it.
        """
        if not ray.is_initialized():
            connect(self._config.address or self._start_head())
            self._connected = True
        require_room(self._config, hosts=hosts_of_cluster())
        self._marker.write()
        self._places = tuple(_Place(self._config) for _ in range(self._config.workers))

    def launch(self, place: int, configure: Configure) -> WorkerProcess:
        """Start a worker process beside an actor."""
        return RayProcess(
            self._places[place],
            configure=partial(self._configure_on, configure=configure),
            expected=self._expected,
        )

    def close(self) -> None:
        """End the actors, and the cluster if it was started here."""
        for place in self._places:
            place.close()
        self._places = ()
        self._marker.remove()
        if self._connected:
            self._connected = False
            disconnect()
        if self._head is not None:
            self._head.stop()
            self._head = None

    def _configure_on(self, host: str, *, configure: Configure) -> bytes:
        """Return the first message to a worker on a host: with whom it shares the memory there."""
        there = [own for name, own in named_hosts() if name == host]
        workers = sharing(host, placed=self._placed(), room=room_on(there, config=self._config))
        return encode(configure.model_copy(update={"workers": workers}))

    def _placed(self) -> list[str | None]:
        """Return the host of every actor; None for those that are not there soon."""
        answers = [place.call("host", "") for place in self._places]
        ray.wait(answers, num_returns=len(answers), timeout=_PLACED_SECONDS)
        return [_answered(answer) for answer in answers]

    def _start_head(self) -> str:
        self._head = RayHead()
        return self._head.address()


@final
class RayExecutor(ProcessExecutor):
    """The executor of a Ray cluster.

    Args:
        settings: What the workers are told; one device a worker.
        config: Which cluster, and how much of it.
        front_end: Which front end this is among those that share the data folder.
    """

    def __init__(self, settings: WorkerSettings, *, config: RayConfig, front_end: str) -> None:
        cluster = RayCluster(config, data_dir=settings.blobs_root, front_end=front_end)
        super().__init__(settings, hosts=cluster)


def connect(address: str) -> None:
    """Connect this process to a cluster.

    Raises:
        UnavailableError: If that cannot be done.
    """
    try:
        host, _, port = address.rpartition(":")
        # Ray itself would try for minutes, and then end the process.
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
        ray.init(address=address, log_to_driver=True, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError, RayError) as error:
        raise UnavailableError(
            f"Ray cluster {address}",
            expected="a cluster of the same versions of Ray and Python that this host belongs to",
            found=str(error).strip().partition("\n")[0] or type(error).__name__,
            remedy="Run `ray start --address=HOST:PORT` on this machine, or check ray.address; set "
            "RAY_AUTH_MODE=token if the cluster wants a token.",
        ) from error


def disconnect() -> None:
    """Leave the cluster."""
    ray.shutdown()


def hosts_of_cluster() -> tuple[Resources, ...]:
    """Return what each host of the cluster has, in use or not."""
    return tuple(resources for _, resources in named_hosts())


def named_hosts() -> tuple[tuple[str, Resources], ...]:
    """Return the hosts of the cluster by Ray's name, each with what it has."""
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return tuple((node["NodeID"], node["Resources"]) for node in nodes if node["Alive"])


def _answered(answer: Any) -> str | None:  # noqa: ANN401 - a reference to any answer
    """Return what an actor has answered; None while it has not, or when it is gone."""
    try:
        return str(ray.get(answer, timeout=0))
    except RayError:  # a timeout is one, too
        return None
