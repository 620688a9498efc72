"""Mutated bundles: how many of them verify, and how many end in anything but a refusal.

Usage: python -m benchmarks.mutated_bundles [--count 100000] [--seed 0] [--quick] [--json F]

Reports (Ed25519, P-256) and reviews, with time-stamp tokens of two ``openssl ts`` authorities (EC,
RSA) and without, are changed as ``tests/support/mutations.py`` does and verified. After every tenth
one more is ``resigned``: its payload was changed and signed again with the trusted key, so that
what reads payloads is reached. Such a document may verify, but must not crash. The exit code is 1
if any other verifies, or anything but a VerificationError is raised.
"""

import base64
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import track

from auditor.attest.bundle import assemble
from auditor.attest.envelope import sign
from auditor.attest.keys import KeyAlgorithm, load_signer
from auditor.attest.review import verify_review
from auditor.attest.trust import TrustFile
from auditor.attest.verify import verify_bundle
from auditor.errors import VerificationError
from benchmarks.measuring import machine_facts, option_parser, options_of, publish
from tests.support.mutations import MUTATIONS, mutated
from tests.support.reports import make_signed
from tests.support.reviews import Person
from tests.support.timestamps import make_authority

RESIGNED = "resigned"
RESIGNED_EVERY = 10


WITHOUT_TOKEN = ("report, P-256", "review")


@dataclass(frozen=True, kw_only=True)
class Document:
    """A bundle, how it is verified, and the key that signed it."""

    bundle: bytes
    verify: Callable[[bytes], object]
    private_pem: bytes


def documents(folder: Path) -> dict[str, Document]:
    """Return the documents that are changed.

    The trust file wants a token where there is one: without it, the bundle is what was issued
    before it was stamped.
    """
    elliptic, rivest = folder / "ec", folder / "rsa"
    elliptic.mkdir()
    rivest.mkdir()
    clocks = make_authority(elliptic), make_authority(rivest, key="rsa")
    proven = {"signing_time": "proven"}
    stamped, plain = make_signed(entry=proven), make_signed(algorithm=KeyAlgorithm.P256)
    ada, bob = Person(), Person()
    trust = TrustFile(
        keys=(stamped.entry, ada.entry(**proven), bob.entry()),
        timestamp_authorities=tuple(
            clock.entry(name=name) for clock, name in zip(clocks, ("ec", "rsa"), strict=True)
        ),
    )
    report = clocks[1].stamp(clocks[0].stamp(stamped.bundle))
    verified = verify_bundle(report, trust, files={})
    return {
        "report, two tokens": Document(
            bundle=report,
            verify=lambda bundle: verify_bundle(bundle, trust, files={}),
            private_pem=stamped.pair.private_pem,
        ),
        "report, P-256": Document(
            bundle=plain.bundle,
            verify=lambda bundle: verify_bundle(bundle, plain.trust, files={}),
            private_pem=plain.pair.private_pem,
        ),
        "review, token": Document(
            bundle=clocks[0].stamp(ada.sign(stamped.bundle)),
            verify=lambda bundle: verify_review(bundle, trust, report=verified),
            private_pem=ada.pair.private_pem,
        ),
        "review": Document(
            bundle=bob.sign(stamped.bundle),
            verify=lambda bundle: verify_review(bundle, trust, report=verified),
            private_pem=bob.pair.private_pem,
        ),
    }


def resigned(document: Document, drawn: random.Random) -> bytes:
    """Return a bundle whose payload was changed and signed again."""
    plain = json.loads(document.bundle)
    payload = base64.b64decode(plain["dsseEnvelope"]["payload"])
    names = [name for name in MUTATIONS if "base64" not in name]
    changed = MUTATIONS[drawn.choice(names)](payload, drawn)
    keyid = plain["verificationMaterial"]["publicKey"]["hint"]
    return assemble(sign(changed, load_signer(document.private_pem)), keyid=keyid)


def measure(count: int, *, seed: int, folder: Path) -> dict[str, Any]:
    """Return how many mutations of each kind were refused by which error, and the exceptions."""
    drawn = random.Random(seed)  # noqa: S311 - mutations, not keys
    made = documents(folder)
    for document in made.values():
        document.verify(document.bundle)
    outcomes: Counter[tuple[str, str]] = Counter()
    bad: list[str] = []
    for number in track(range(count), description="mutating", disable=not sys.stderr.isatty()):
        document = made[drawn.choice(tuple(made))]
        cases = [(document, *mutated(document.bundle, drawn))]
        if number % RESIGNED_EVERY == 0:
            document = made[drawn.choice(WITHOUT_TOKEN)]
            cases.append((document, RESIGNED, resigned(document, drawn)))
        for document, kind, changed in cases:
            outcome = ended(document, changed)
            outcomes[kind, outcome] += 1
            if outcome not in REFUSALS and (kind, outcome) != (RESIGNED, "verified"):
                bad.append(f"{kind}: {outcome}: {base64.b64encode(changed)[:4000].decode()}")
    table: dict[str, dict[str, int]] = {}
    for (kind, outcome), found in sorted(outcomes.items()):
        table.setdefault(kind, {})[outcome] = found
    return {"seed": seed, "mutations": count, "outcomes": table, "bad": bad[:10]}


REFUSALS = frozenset({
    "DOCUMENT_REFUSED",
    "SIGNATURE_INVALID",
    "BACK_DATED",
    "SUBJECT_MISMATCH",
    "REVIEW_MISSING",
    "VERIFICATION_UNDECIDED",
})


def ended(document: Document, changed: bytes) -> str:
    """Return the code of the refusal, ``verified``, or the name of any other exception."""
    try:
        document.verify(changed)
    except VerificationError as error:
        return error.code
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is what is looked for
        return type(error).__name__
    return "verified"


def main() -> None:
    """Print the figures; exit with 1 when a mutation verified or crashed."""
    parser = option_parser(__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    options = options_of(arguments)
    facts = machine_facts()
    with tempfile.TemporaryDirectory() as folder:
        count = min(arguments.count, 2000) if options.quick else arguments.count
        results = measure(count, seed=arguments.seed, folder=Path(folder))
    publish("mutated_bundles", options=options, facts=facts, results=results)
    sys.exit(1 if results["bad"] else 0)


if __name__ == "__main__":
    main()
