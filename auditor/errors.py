"""Every error the library raises.

The tree::

    AuditorError
    ├── InputError                  the caller's data is wrong; a retry changes nothing
    │   ├── StageLogError
    │   ├── ShapeError
    │   ├── DomainError
    │   ├── QueryError
    │   └── PolicyError             does not fit the report that it is to judge
    │       └── BaselineError       nor the report that it is compared with
    ├── ArtifactError               something stored is not usable
    │   ├── ArtifactMissingError
    │   └── ArtifactDigestError
    ├── PreconditionError           valid, but not possible in the present state
    ├── ConflictError               exists already with another content
    ├── UnsupportedError            valid, but not treated by this version
    ├── NumericalError              non-finite or diverged; never returned as a value
    ├── ResourceError               does not fit memory, quota or deadline
    ├── UnavailableError            try again later
    ├── AuthenticationError
    ├── PermissionDeniedError
    ├── VerificationError           does not verify
    │   ├── DocumentRefusedError    is not a bundle this version reads
    │   ├── SignatureError          is not signed by a key the reader trusts
    │   │   └── BackdatedError      is dated when, as a time-stamp token shows, it was not signed
    │   ├── SubjectError            is about other files than those at hand
    │   ├── ReviewError             lacks a review that is required
    │   └── UndecidedError          could not be checked, which callers treat as *no*
    └── InternalError               a broken invariant: our bug

A message says where, what was expected, what was found, and what to do. Values are cut at
:data:`VALUE_LIMIT` characters; contents of artifacts and keys never appear.
"""

VALUE_LIMIT = 80


def printable(text: str) -> str:
    """Return text without what is obeyed and not seen, such as commands to a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def shorten(value: object) -> str:
    """Return ``value`` as text of at most :data:`VALUE_LIMIT` printable characters."""
    text = printable(value if isinstance(value, str) else repr(value))
    return text if len(text) <= VALUE_LIMIT else text[: VALUE_LIMIT - 1] + "…"


class AuditorError(Exception):
    """Base of every error of this project.

    Args:
        where: The field, file or step concerned, such as ``stages[2].steps[17].lr``.
        expected: What would have been right.
        found: What was there instead; shortened, never a secret.
        remedy: What the reader should do, as one sentence.
    """

    code = "AUDITOR_ERROR"

    def __init__(self, where: str, *, expected: str, found: object, remedy: str) -> None:
        self.where = where
        self.expected = expected
        self.found = shorten(found)
        self.remedy = remedy
        super().__init__(f"{where}: expected {expected}, found {self.found}. {remedy}")


class InputError(AuditorError):
    """The caller's data is wrong; a retry changes nothing."""

    code = "INVALID_INPUT"


class StageLogError(InputError):
    """A stage log contradicts its schema or itself."""

    code = "INVALID_STAGE_LOG"


class ShapeError(InputError):
    """A tensor has another shape than its name promises."""

    code = "INVALID_SHAPE"


class DomainError(InputError):
    """A number lies outside the range in which it means something."""

    code = "OUT_OF_DOMAIN"


class QueryError(InputError):
    """A query does not fit the model or the evaluation data."""

    code = "INVALID_QUERY"


class PolicyError(InputError):
    """A policy does not fit the report: it names what the report does not have."""

    code = "POLICY_DOES_NOT_FIT"


class BaselineError(PolicyError):
    """A baseline cannot be compared with: another query, unit or request."""

    code = "BASELINE_DOES_NOT_FIT"


class ArtifactError(AuditorError):
    """Something stored is not usable."""

    code = "ARTIFACT_UNUSABLE"


class ArtifactMissingError(ArtifactError):
    """Nothing is stored under this name."""

    code = "ARTIFACT_MISSING"


class ArtifactDigestError(ArtifactError):
    """Stored bytes differ from the digest that names them."""

    code = "ARTIFACT_CORRUPT"


class PreconditionError(AuditorError):
    """The request is valid but cannot be met in the present state."""

    code = "PRECONDITION_FAILED"


class ConflictError(AuditorError):
    """The name exists already with another content."""

    code = "ALREADY_EXISTS"


class UnsupportedError(AuditorError):
    """Valid, but not treated by this version."""

    code = "UNSUPPORTED"


class NumericalError(AuditorError):
    """A computation became non-finite or diverged."""

    code = "NUMERICAL_FAILURE"


class ResourceError(AuditorError):
    """Does not fit memory, quota or deadline.

    Args:
        where: The field, file or step concerned.
        expected: What would have fitted.
        found: What was asked.
        remedy: What to do.
        retry_after_seconds: When waiting helps, how long; else None.
    """

    code = "RESOURCE_EXHAUSTED"

    def __init__(
        self,
        where: str,
        *,
        expected: str,
        found: object,
        remedy: str,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(where, expected=expected, found=found, remedy=remedy)
        self.retry_after_seconds = retry_after_seconds


class UnavailableError(AuditorError):
    """The service cannot answer now; the same call may succeed later."""

    code = "UNAVAILABLE"


class AuthenticationError(AuditorError):
    """No credentials, or credentials that are not valid."""

    code = "UNAUTHENTICATED"


class PermissionDeniedError(AuditorError):
    """The identity is known but lacks the right."""

    code = "PERMISSION_DENIED"


class VerificationError(AuditorError):
    """A document does not verify."""

    code = "VERIFICATION_FAILED"


class DocumentRefusedError(VerificationError):
    """A document is malformed, too large, or not of the type and form that is signed."""

    code = "DOCUMENT_REFUSED"


class SignatureError(VerificationError):
    """A signature is wrong, or its key is unknown, revoked or used outside its validity."""

    code = "SIGNATURE_INVALID"


class BackdatedError(SignatureError):
    """A document's own date contradicts a time-stamp token over its signature."""

    code = "BACK_DATED"


class SubjectError(VerificationError):
    """The files at hand are not those a signed statement is about."""

    code = "SUBJECT_MISMATCH"


class ReviewError(VerificationError):
    """A review that is required is missing, has expired, rejects, or is of another report."""

    code = "REVIEW_MISSING"


class UndecidedError(VerificationError):
    """A document could not be checked, which callers treat as *no*."""

    code = "VERIFICATION_UNDECIDED"


class InternalError(AuditorError):
    """A broken invariant: our bug."""

    code = "INTERNAL"
