"""Signed reviews of signed reports."""

from datetime import timedelta
from typing import Any

from auditor.attest.bundle import report_id
from auditor.attest.keys import KeyPair, generate_key, load_signer
from auditor.attest.review import sign_review
from auditor.attest.trust import TrustedKey
from auditor.report.review import Review, Reviewer
from auditor.stagelog.digest import Digest
from tests.support.reports import SIGNED_AT, make_trusted

REVIEWED_AT = SIGNED_AT + timedelta(days=1)
NOW = SIGNED_AT + timedelta(days=10)


def make_review(**changes: Any) -> Review:
    """Return an approval by a validator."""
    who = {"name": "Ada Lovelace", "role": "validator", "organisation": "Model Risk Ltd"}
    reviewer = Reviewer(**{k: changes.pop(k, v) for k, v in who.items()})
    values: dict[str, Any] = {
        "reviewer": reviewer,
        "decision": "approve",
        "created": REVIEWED_AT.isoformat(),
    }
    return Review(**(values | changes))


class Person:
    """Somebody with a key of their own."""

    def __init__(self, pair: KeyPair | None = None) -> None:
        self.pair = generate_key() if pair is None else pair

    def entry(self, **changes: Any) -> TrustedKey:
        """Return the trust entry of their key."""
        return make_trusted(self.pair, **changes)

    def sign(self, bundle: bytes, review: Review | None = None) -> bytes:
        """Return a signed review of a report's bundle."""
        return self.sign_id(report_id(bundle), review)

    def sign_id(self, report: Digest, review: Review | None = None) -> bytes:
        """Return a signed review of a report by its id."""
        signer = load_signer(self.pair.private_pem)
        return sign_review(review or make_review(), report=report, signer=signer)
