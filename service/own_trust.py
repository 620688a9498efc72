"""The keys of this service as a trust file: what it has signed, it can verify."""

from pathlib import Path

from auditor.attest.trust import TrustedKey, TrustFile, trust_key
from service.keys import read_public_key

PUBLIC_SUFFIX = ".pub.pem"


def own_trust(folder: Path) -> TrustFile:
    """Return the public keys of a key folder, those that no longer sign among them.

    Raises:
        InputError: If one of the files is no public key.
    """
    found = [_entry(path) for path in sorted(folder.glob(f"*{PUBLIC_SUFFIX}"))]
    return TrustFile(keys=tuple({key.keyid: key for key in found}.values()))


def _entry(path: Path) -> TrustedKey:
    name = path.name.removesuffix(PUBLIC_SUFFIX)
    return trust_key(read_public_key(path), name=f"this service, {name}")
