"""Processes that train together: who writes, and how rank 0 learns what the others used."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import torch.distributed as dist
from torch import Tensor

from auditor.errors import StageLogError
from auditor.record.adapters.ledger import Gather, Microbatch, alone
from auditor.record.adapters.rows import Rows


def world_size() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process; 0 writes the log."""
    return dist.get_rank() if world_size() > 1 else 0


def open_channel() -> Any:  # noqa: ANN401 - torch has no public type of it
    """Return a group of all processes that talks through main memory; all of them call this.

    Positions are few and on the CPU: through the devices' own channel they would wait for them.
    None is the default group, and what a process alone has.
    """
    if world_size() == 1 or dist.get_backend() == "gloo":
        return None
    return dist.new_group(backend="gloo")


def gather_through(channel: Any) -> Gather:  # noqa: ANN401 - as above
    """Return what brings the microbatches of all processes together in rank 0."""
    if world_size() == 1:
        return alone

    def gather(parts: list[Microbatch]) -> list[list[Microbatch]] | None:
        own = [part.indices if isinstance(part, Rows) else _copied(part) for part in parts]
        gathered: list[Any] | None = [None] * world_size() if rank() == 0 else None
        dist.gather_object(own, gathered, dst=0, group=channel)
        if gathered is None:
            return None
        return [
            [part if isinstance(part, dict) else Rows(part) for part in of_rank]
            for of_rank in gathered
        ]

    return gather


@contextmanager
def same_outcome(channel: Any, *, stage: str) -> Iterator[None]:  # noqa: ANN401 - as above
    """Let the other processes wait at the block's end for rank 0, and fail where it failed.

    A process that fails itself does not wait: the others hear of it from their backend.

    Args:
        channel: That of :func:`open_channel`.
        stage: What rank 0 records, for the message.

    Raises:
        StageLogError: In the others, if rank 0 refused what is inside the block.
    """
    problem: BaseException | None = None
    try:
        yield
    except BaseException as error:
        problem = error
        raise
    finally:
        if world_size() > 1 and (rank() == 0 or problem is None):
            _share(problem, channel, stage=stage)


def _share(
    problem: BaseException | None,
    channel: Any,  # noqa: ANN401 - as above
    *,
    stage: str,
) -> None:
    told = [None if problem is None else str(problem)]
    # Processes that failed as well are gone, or will never listen.
    with suppress(RuntimeError) if problem is not None else nullcontext():
        dist.broadcast_object_list(told, src=0, group=channel)
    if told[0] is not None and rank() != 0:
        raise StageLogError(
            f"stage {stage!r}",
            expected="a stage that rank 0 recorded",
            found=told[0],
            remedy="See the message of rank 0.",
        )


def _copied(part: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: values.detach().cpu() for name, values in part.items()}
