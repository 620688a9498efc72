"""Typed errors as values that cross a pipe or lie in a database row, and back."""

from dataclasses import dataclass

from auditor.errors import AuditorError, InternalError, ResourceError, UnavailableError
from auditor.stagelog.digest import canonical_bytes


class WorkerLostError(UnavailableError):
    """The worker process ended before it answered."""

    code = "WORKER_LOST"


class PoisonError(ResourceError):
    """An action killed its workers by its own fault."""

    code = "POISON"


class AuditDeadlineError(ResourceError):
    """An audit was not finished when its deadline came."""

    code = "AUDIT_DEADLINE_EXCEEDED"


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """What an error says, without its traceback."""

    code: str  #: of the error's class
    where: str
    expected: str
    found: str
    remedy: str

    def to_plain(self) -> dict[str, str]:
        """Return the fields as JSON values."""
        return {
            "code": self.code,
            "where": self.where,
            "expected": self.expected,
            "found": self.found,
            "remedy": self.remedy,
        }

    def to_json(self) -> str:
        """Return canonical JSON."""
        return canonical_bytes(self.to_plain()).decode()


def failure_of(error: AuditorError) -> Failure:
    """Return what ``error`` says."""
    return Failure(
        code=error.code,
        where=error.where,
        expected=error.expected,
        found=error.found,
        remedy=error.remedy,
    )


def failure_from(plain: dict[str, str]) -> Failure:
    """Return the failure whose JSON values these are."""
    return Failure(
        code=plain["code"],
        where=plain["where"],
        expected=plain["expected"],
        found=plain["found"],
        remedy=plain["remedy"],
    )


def error_of(failure: Failure) -> AuditorError:
    """Return the error that ``failure`` was made of, its class included."""
    return _CLASSES.get(failure.code, InternalError)(
        failure.where, expected=failure.expected, found=failure.found, remedy=failure.remedy
    )


def _classes(base: type[AuditorError]) -> dict[str, type[AuditorError]]:
    # Classes from elsewhere may have constructors of their own.
    found = {base.code: base} if base.__module__ in {"auditor.errors", __name__} else {}
    for subclass in base.__subclasses__():
        found |= _classes(subclass)
    return found


_CLASSES = _classes(AuditorError)
