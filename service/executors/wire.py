"""Messages between the front end and a worker: one JSON document a line over two pipes.

Front end to worker: :class:`Configure` once, then :class:`RunGroup`, :class:`CancelActions` and
:class:`Drain`. Worker to front end: :class:`Ready` once, then the others. End of file ends either.
"""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from auditor.stagelog.record import DigestField, Record


class Configure(Record):
    """What a worker must know before its first group.

    ``engine`` is ``module:function``: it is called with the blob store and opens the device.
    ``workers`` of one machine share its memory; ``memory_bytes`` is what each may use, None to
    find out.
    """

    type: Literal["configure"] = "configure"
    blobs_root: str
    device: str
    threads: int
    heartbeat_seconds: float
    engine: str
    workers: int = 1
    memory_bytes: int | None = None
    save_seconds: float = 60.0


class WireAction(Record):
    """One action of a group; ``spec`` is its canonical JSON, ``saved`` what it may go on from."""

    key: DigestField
    fence: int
    spec: str
    saved: DigestField | None = None


class RunGroup(Record):
    """Compute these actions together; ``results`` holds the digest of everything they read."""

    type: Literal["run"] = "run"
    group: int
    actions: tuple[WireAction, ...]
    results: dict[DigestField, DigestField]


class CancelActions(Record):
    """Nobody wants these actions of the group any more."""

    type: Literal["cancel"] = "cancel"
    group: int
    keys: tuple[DigestField, ...]


class Drain(Record):
    """Save and abandon everything at the next block boundary and start nothing more."""

    type: Literal["drain"] = "drain"


class Ready(Record):
    """The device computes correctly; ``memory_bytes`` is what its groups may use."""

    type: Literal["ready"] = "ready"
    memory_bytes: int | None = None


class Beat(Record):
    """The worker is alive."""

    type: Literal["beat"] = "beat"


class Started(Record):
    """The group is on the device."""

    type: Literal["started"] = "started"
    group: int


class Stepped(Record):
    """The group is ``done`` of ``total`` steps far."""

    type: Literal["stepped"] = "stepped"
    group: int
    done: int
    total: int


class Resumed(Record):
    """The group goes on from saved states: ``steps`` are not computed again, over all lanes."""

    type: Literal["resumed"] = "resumed"
    group: int
    steps: int


class WireSaved(Record):
    """The stored state of one action after ``step`` steps; ``fence`` is that of its lease."""

    key: DigestField
    fence: int
    step: int
    digest: DigestField


class Saved(Record):
    """States of a running group: whoever computes these actions next can go on from them."""

    type: Literal["saved"] = "saved"
    group: int
    saved: tuple[WireSaved, ...]


class WireResult(Record):
    """The stored result of one action; ``fence`` is that of its lease.

    ``execution`` names the stored record of its group.
    """

    key: DigestField
    fence: int
    digest: DigestField
    size: int
    gradient_examples: int
    execution: DigestField | None = None


class Done(Record):
    """Results of a group without its cancelled actions, and what the whole group took.

    ``peak_bytes`` is the device memory that it needed at most, None where nobody measures.
    """

    type: Literal["done"] = "done"
    group: int
    results: tuple[WireResult, ...]
    compute_seconds: float
    peak_bytes: int | None = None


class Failed(Record):
    """A typed error ended the group; the words are those of the error."""

    type: Literal["failed"] = "failed"
    group: int
    code: str
    where: str
    expected: str
    found: str
    remedy: str


class Abandoned(Record):
    """The group ended at a block boundary without results."""

    type: Literal["abandoned"] = "abandoned"
    group: int


ToWorker = Annotated[
    Configure | RunGroup | CancelActions | Drain,
    Field(discriminator="type"),
]
FromWorker = Annotated[
    Ready | Beat | Started | Stepped | Resumed | Saved | Done | Failed | Abandoned,
    Field(discriminator="type"),
]

TO_WORKER: TypeAdapter[Configure | RunGroup | CancelActions | Drain] = TypeAdapter(ToWorker)
FROM_WORKER: TypeAdapter[
    Ready | Beat | Started | Stepped | Resumed | Saved | Done | Failed | Abandoned
] = TypeAdapter(FromWorker)


def encode(message: Record) -> bytes:
    """Return the message as one line."""
    return message.model_dump_json().encode() + b"\n"
