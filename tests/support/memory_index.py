"""Finished actions in memory: the fake of ``auditor.edge.result_index``."""

from auditor.plan.actions import ActionKey
from auditor.stagelog.digest import Digest


class MemoryIndex:
    """A ResultIndex in a dictionary."""

    def __init__(self) -> None:
        self.entries: dict[ActionKey, Digest] = {}
        self.executions: dict[ActionKey, Digest | None] = {}

    def get(self, key: ActionKey) -> Digest | None:
        """Return the result of a finished action, or None."""
        return self.entries.get(key)

    def execution(self, key: ActionKey) -> Digest | None:
        """Return the record of the group that a finished action ran in, or None."""
        return self.executions.get(key)

    def put(self, key: ActionKey, digest: Digest, *, execution: Digest | None = None) -> None:
        """Remember the result of an action and the record of its group."""
        self.entries[key] = digest
        self.executions[key] = execution
