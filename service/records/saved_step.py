"""Where an action can go on from."""

from dataclasses import dataclass

from auditor.stagelog.digest import Digest


@dataclass(frozen=True, kw_only=True, slots=True)
class SavedStep:
    """The stored state of an action after ``step`` of its steps."""

    step: int
    digest: Digest
