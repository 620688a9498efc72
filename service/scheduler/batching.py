"""Ready actions -> the next group; pure."""

from collections.abc import Iterable

from service.scheduler.ready import ReadyAction, order


def next_group(
    ready: Iterable[ReadyAction], *, max_lanes: int, now: float
) -> tuple[ReadyAction, ...]:
    """Return the actions to run together next, none if nothing is ready.

    The head is the first in :func:`service.scheduler.ready.order`; others of the same group key
    join it in that order. An action whose group failed before limits every group it is in.
    """
    ordered = sorted(ready, key=lambda action: order(action, now))
    if not ordered:
        return ()
    head = ordered[0]
    room = min(max_lanes, head.max_lanes or max_lanes)
    group = [head]
    for action in ordered[1:]:
        if len(group) >= room:
            break
        if action.group_key != head.group_key:
            continue
        limit = action.max_lanes or max_lanes
        if limit <= len(group):
            continue  # it needs a smaller group than this one is already
        group.append(action)
        room = min(room, limit)
    return tuple(group)
