"""Ready actions -> the next group; pure."""

from collections.abc import Callable, Iterable

from service.scheduler.ready import ReadyAction, order


def next_group(
    ready: Iterable[ReadyAction],
    *,
    lanes_of: Callable[[ReadyAction], int],
    now: float,
    start_of: Callable[[str], float],
) -> tuple[ReadyAction, ...]:
    """Return the actions to run together next, none if nothing is ready.

    The head is the first in :func:`service.scheduler.ready.order`; others of the same group key
    join it in that order, whichever tenant they are of. An action whose group failed before limits
    every group it is in.

    Args:
        ready: Everything that could start now.
        lanes_of: The largest group that an action may be in; asked of the head.
        now: Seconds since 1970.
        start_of: Start tags of tenants; the smallest is served first.
    """
    ordered = sorted(
        ready, key=lambda action: order(action, now=now, start=start_of(action.tenant))
    )
    if not ordered:
        return ()
    head = ordered[0]
    most = lanes_of(head)
    room = min(most, head.max_lanes or most)
    group = [head]
    for action in ordered[1:]:
        if len(group) >= room:
            break
        if action.group_key != head.group_key:
            continue
        limit = action.max_lanes or most
        if limit <= len(group):
            continue  # it needs a smaller group than this one is already
        group.append(action)
        room = min(room, limit)
    return tuple(group)
