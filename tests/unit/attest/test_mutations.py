"""Mutated reports and reviews, with tokens and without, never verify and raise nothing else.

``python -m benchmarks.mutated_bundles`` does the same a hundred thousand times.
"""

import random
from collections.abc import Callable

import pytest

from auditor.attest.keys import KeyAlgorithm
from auditor.attest.review import verify_review
from auditor.attest.trust import TrustFile
from auditor.attest.verify import verify_bundle
from auditor.errors import VerificationError
from tests.support.mutations import MUTATIONS, mutated
from tests.support.reports import make_signed
from tests.support.reviews import Person
from tests.support.timestamps import Authority

pytestmark = pytest.mark.tool("openssl")

NAMES = ("report", "report without a token", "review")
Verify = Callable[[bytes], object]


@pytest.fixture(scope="module")
def documents(authority: Authority) -> dict[str, tuple[bytes, Verify]]:
    """A report and a review, each with a token, a report without, and how each is verified.

    Documents with a token are verified by a trust file that wants one: a bundle whose token was
    taken away is what was issued before it was stamped.
    """
    signed = make_signed(entry={"signing_time": "proven"})
    plain, reviewer = make_signed(algorithm=KeyAlgorithm.P256), Person()
    keys = (signed.entry, reviewer.entry(signing_time="proven"))
    trust = TrustFile(keys=keys, timestamp_authorities=(authority.entry(),))
    report = verify_bundle(authority.stamp(signed.bundle), trust, files={})
    return {
        "report without a token": (
            plain.bundle,
            lambda bundle: verify_bundle(bundle, plain.trust, files={}),
        ),
        "report": (
            authority.stamp(signed.bundle),
            lambda bundle: verify_bundle(bundle, trust, files={}),
        ),
        "review": (
            authority.stamp(reviewer.sign(signed.bundle)),
            lambda bundle: verify_review(bundle, trust, report=report),
        ),
    }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", MUTATIONS)
def test_mutated_document_does_not_verify(
    documents: dict[str, tuple[bytes, Verify]], name: str, kind: str
) -> None:
    bundle, verify = documents[name]
    drawn = random.Random(f"{name} {kind}")  # noqa: S311 - no keys

    for _ in range(60):
        changed = MUTATIONS[kind](bundle, drawn)
        if changed != bundle:
            with pytest.raises(VerificationError):
                verify(changed)


@pytest.mark.parametrize("name", NAMES)
def test_documents_verify_as_they_are(
    documents: dict[str, tuple[bytes, Verify]], name: str
) -> None:
    bundle, verify = documents[name]

    assert verify(bundle)


def test_mutations_are_drawn_by_their_seed(documents: dict[str, tuple[bytes, Verify]]) -> None:
    bundle, _ = documents["report"]

    one, again = (mutated(bundle, random.Random(7)) for _ in range(2))  # noqa: S311 - no keys

    assert one == again
    assert one[1] != bundle
