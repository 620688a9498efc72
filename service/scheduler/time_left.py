"""How long an audit will still take, from what its kinds of actions have cost lately; pure.

An estimate, for people who wait. It is wrong where actions of one kind cost differently from audit
to audit, or where more work comes that is served first.
"""

from dataclasses import dataclass

NEAR_RELATIVE = 1.25
NEAR_SECONDS = 3.0
"""Estimates that differ by less than these say the same."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkLeft:
    """What has to be computed before an audit is over, as far as it is planned.

    Args:
        waiting: Seconds of each group that is still to be formed: of its own actions, and of those
            of its tenant that come first; None where unknown.
        held: Seconds left of each group that workers hold and that it has to wait for; None where
            unknown.
        workers: How many workers take groups.
        share: The part of the devices that its tenant is given now, in (0, 1].
        complete: Whether all of it is planned; else rounds of planning can add actions.
    """

    waiting: tuple[float | None, ...]
    held: tuple[float | None, ...]
    workers: int
    share: float
    complete: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeLeft:
    """An estimate in seconds; ``at_least``: more can come that nobody knows about yet."""

    seconds: float
    at_least: bool


def time_left(work: WorkLeft) -> TimeLeft | None:
    """Return how long the work takes, or None when nothing about it is known.

    Groups run one after the other on each worker, so the time is that of the work spread over the
    workers, of which waiting actions get their tenant's share, but never less than the longest
    group. Groups of unknown time are left out, which makes it a least time.
    """
    held = [seconds for seconds in work.held if seconds is not None]
    waiting = [seconds for seconds in work.waiting if seconds is not None]
    if not work.workers or not (held or waiting):
        return None
    seconds = (sum(held) + sum(waiting) / work.share) / work.workers
    everything = (len(held), len(waiting)) == (len(work.held), len(work.waiting))
    return TimeLeft(
        seconds=max(seconds, *held, *waiting, 0.0), at_least=not (work.complete and everything)
    )


def group_sizes(lanes: int, *, max_lanes: int) -> tuple[int, ...]:
    """Return the lanes of the groups that so many actions of one group key run in."""
    full, rest = divmod(lanes, max_lanes)
    return (max_lanes,) * full + ((rest,) if rest else ())


def group_seconds_left(
    elapsed: float | None, *, done: int, total: int, expected: float | None
) -> float | None:
    """Return how long a group will still compute, or None when that is not known.

    Args:
        elapsed: Seconds it has been on the device; None while it waits for it.
        done: Steps it has done.
        total: Steps it has to do; 0 when unknown.
        expected: Seconds that a group of its kind and lanes takes as a whole; None when unknown.
    """
    if elapsed is not None and 0 < done <= total:
        return elapsed * (total - done) / done
    if expected is None:
        return None
    left = expected - (elapsed or 0.0)
    return left if left > 0 else None  # it takes longer than such groups did: nobody knows how long


def settled(estimate: float, *, before: float, elapsed: float) -> float:
    """Return the time to show: it runs down with the clock and changes only for a reason.

    An estimate that is near what is left of the one shown before changes nothing, so that the
    figure does not go up and down. A later one holds at once, an earlier one half, since one group
    that was quick does not make all of them quick.

    Args:
        estimate: Seconds left, as estimated now.
        before: Seconds left, as shown last.
        elapsed: Seconds since then.
    """
    due = max(0.0, before - elapsed)
    if estimate > due * NEAR_RELATIVE + NEAR_SECONDS:
        return estimate
    if estimate < due / NEAR_RELATIVE - NEAR_SECONDS:
        return (due + estimate) / 2
    return due
