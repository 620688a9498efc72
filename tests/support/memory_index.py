"""Finished actions in memory: the fake of ``auditor.edge.result_index``."""

from auditor.plan.actions import ActionKey
from auditor.stagelog.digest import Digest


class MemoryIndex:
    """A ResultIndex in a dictionary."""

    def __init__(self) -> None:
        self.entries: dict[ActionKey, Digest] = {}

    def get(self, key: ActionKey) -> Digest | None:
        """Return the result of a finished action, or None."""
        return self.entries.get(key)

    def put(self, key: ActionKey, digest: Digest) -> None:
        """Remember the result of an action."""
        self.entries[key] = digest
