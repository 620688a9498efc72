"""Who a front end is among those that share a database."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement

from service.records.tables import action

_OWNER_LENGTH = 64
_SEPARATOR = "/"


@dataclass(frozen=True, kw_only=True, slots=True)
class FrontEnd:
    """One ``stageaudit serve``.

    ``id`` outlives a restart, so that a front end knows the leases of its earlier life; it is a
    word without slashes.
    """

    id: str

    def owner(self, worker: str) -> str:
        """Return the owner of a worker's leases."""
        return f"{self.id}{_SEPARATOR}{worker}"[:_OWNER_LENGTH]

    @property
    def owns(self) -> ColumnElement[bool]:
        """Return the condition that this front end's workers have leased an action."""
        return action.c.lease_owner.startswith(f"{self.id}{_SEPARATOR}", autoescape=True)


ALONE = FrontEnd(id="alone")
"""The front end of a database that no other one uses."""
