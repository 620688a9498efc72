"""When something was signed: the date it claims against what is proven, and the key's validity."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from auditor.attest.timestamp import ProvenTime
from auditor.attest.trust import KeyStatus, TrustedKey, parse_time
from auditor.errors import BackdatedError, InputError, SignatureError, UndecidedError

CLOCK_SKEW: Final = timedelta(minutes=5)
"""How far the signer's clock may be ahead of the authority's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SigningTime:
    """When something was signed.

    Attributes:
        claimed: The signer's word; None where the document has no date.
        proven: What a time-stamp token proves; None without one.
        detail: What was compared, for people.
    """

    claimed: datetime | None
    proven: ProvenTime | None
    detail: str

    @property
    def moment(self) -> datetime | None:
        """The time that counts: proven, else claimed."""
        return self.claimed if self.proven is None else self.proven.moment


def judge_time(
    claimed: str | None, *, where: str, key: TrustedKey, proven: ProvenTime | None
) -> SigningTime:
    """Return when something was signed, if its date, its token and its key agree.

    Args:
        claimed: The document's own date, or None.
        where: The field that it is in.
        key: The key that signed.
        proven: What time-stamp tokens prove.

    Raises:
        BackdatedError: If the date lies after the token, or longer before it than the authority's
            entry allows.
        UndecidedError: If the date is needed and there is none, or the trust file wants a token.
        SignatureError: If the key was not valid then.
    """
    needed = proven is not None or key.not_before is not None or key.not_after is not None
    dated = _date(claimed, where=where) if needed and claimed is not None else None
    if proven is None and key.signing_time == "proven":
        raise UndecidedError(
            where,
            expected="a time-stamp token, which the trust file wants of this key",
            found="none of an authority that you trust",
            remedy="Have it stamped: `stageaudit timestamp`.",
        )
    if proven is not None and dated is not None:
        _require_agreement(dated, proven, where=where)
    if key.status is KeyStatus.REVOKED:
        _require_older_than_revocation(key, proven, where=where)
    moment = dated if proven is None else proven.moment
    if key.not_before is None and key.not_after is None:
        detail = "the trust file sets no validity for the key"
        if proven is not None:
            detail = f"{proven.moment.isoformat()}, as {proven.authority.name} says; {detail}"
        return SigningTime(claimed=dated, proven=proven, detail=detail)
    if moment is None:
        raise UndecidedError(
            where,
            expected="the time of signing, because the key has a validity",
            found="none",
            remedy="Ask for a dated report.",
        )
    if not key.covers(moment):
        start = "ever" if key.not_before is None else key.not_before.isoformat()
        end = "ever" if key.not_after is None else key.not_after.isoformat()
        raise SignatureError(
            where if proven is None else "time-stamp token",
            expected=f"a time from {start} until {end}, when the key was valid",
            found=moment.isoformat(),
            remedy="Ask for it to be signed with a key valid at that time.",
        )
    who = "the signer" if proven is None else proven.authority.name
    detail = f"{moment.isoformat()}, as {who} says, lies in the key's validity"
    return SigningTime(claimed=dated, proven=proven, detail=detail)


def _date(claimed: str, *, where: str) -> datetime:
    try:
        return parse_time(claimed, where=where)
    except InputError as error:
        raise UndecidedError(
            where, expected=error.expected, found=error.found, remedy="Ask for a dated report."
        ) from error


def _require_agreement(claimed: datetime, proven: ProvenTime, *, where: str) -> None:
    """Refuse a date after the token, or too long before it."""
    latest = proven.moment + proven.accuracy + CLOCK_SKEW
    if claimed > latest:
        raise BackdatedError(
            where,
            expected=f"a date until {latest.isoformat()}, when {proven.authority.name} had seen it",
            found=claimed.isoformat(),
            remedy="Its date is false: it was signed before. Ask the signer.",
        )
    delay = timedelta(seconds=proven.authority.max_delay_seconds)
    # A token of the year 1 has no day before it.
    if proven.moment - claimed > delay + proven.accuracy:
        raise BackdatedError(
            where,
            expected=f"a date at most {delay} before the token of {proven.moment.isoformat()}",
            found=claimed.isoformat(),
            remedy="It is dated back, or was stamped late. Ask the signer; `max_delay_seconds` of "
            "the authority in the trust file is what you allow.",
        )


def _require_older_than_revocation(
    key: TrustedKey, proven: ProvenTime | None, *, where: str
) -> None:
    revoked = key.revoked_at
    if proven is not None and revoked is not None and proven.moment + proven.accuracy < revoked:
        return
    raise SignatureError(
        where,
        expected=f"a time-stamp token from before {revoked}, when the key was revoked",
        found="none" if proven is None else proven.moment.isoformat(),
        remedy="Ask for it to be signed again with a valid key.",
    )
