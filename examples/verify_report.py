"""Verify a signed report from Python, offline; needs the base install only.

Usage: python examples/verify_report.py report.sigstore.json signer.pub.pem [FILE...]
"""

import hashlib
import sys
from pathlib import Path

from auditor.attest.trust import TrustFile, trust_key
from auditor.attest.verify import verify_bundle
from auditor.errors import AuditorError
from auditor.stagelog.digest import Digest


def digest_of_file(path: Path) -> Digest:
    """Return the SHA-256 of a file of any size."""
    with path.open("rb") as file:
        return Digest(hashlib.file_digest(file, "sha256").hexdigest())


def main(bundle: Path, public_key: Path, *files: Path) -> None:
    """Print who signed the report, its effects, and what they do not say."""
    # The key comes from you, never from the bundle.
    trust = TrustFile(keys=(trust_key(public_key.read_text(), name=public_key.name),))
    verification = verify_bundle(
        bundle.read_bytes(), trust, files={path.name: digest_of_file(path) for path in files}
    )

    print(f"signed by {verification.key.name}, report {verification.report_id}")
    for subject in verification.subjects:
        print(f"  {subject.name}: {subject.outcome}")
    for effect in verification.report.effects:
        interval = "" if effect.low is None else f" ({effect.low:+.3f} to {effect.high:+.3f})"
        value = "not computed" if effect.value is None else f"{effect.value:+.3f}"
        print(f"{effect.intervention}: {effect.query} {value}{interval} {effect.unit}")
    for limitation in verification.report.limitations:
        print(f"note: {limitation.text}")


if __name__ == "__main__":
    try:
        main(*map(Path, sys.argv[1:]))
    except AuditorError as error:
        sys.exit(f"not verified: {error}")
