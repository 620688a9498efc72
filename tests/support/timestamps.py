"""A time-stamping authority of ``openssl ts``: its own root, its own certificate, real tokens."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditor.attest.bundle import attach_token, parse_bundle
from auditor.attest.timestamp import granted_response, timestamp_query
from auditor.attest.trust import TimestampAuthority, TrustFile, trust_authority
from tests.support.reports import Signed

LONG = 3650 * 86400  # seconds; reports of tests have fixed dates, tokens the time of the run

SETTINGS = """
[ tsa ]
default_tsa = here
[ here ]
serial = {folder}/serial
crypto_device = builtin
signer_cert = {folder}/tsa.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.3.6.1.4.1.57264.2
other_policies = 1.3.6.1.4.1.57264.3
digests = sha256, sha384, sha512
accuracy = secs:1, millisecs:500
ess_cert_id_alg = sha256
"""
KEYS = {"ec": ("ec", "-pkeyopt", "ec_paramgen_curve:P-256"), "rsa": ("rsa:2048",)}


@dataclass(frozen=True)
class Authority:
    """A folder with an authority in it."""

    folder: Path

    @property
    def root(self) -> str:
        """The root certificate in PEM."""
        return (self.folder / "root.pem").read_text()

    @property
    def chain(self) -> str:
        """The certificate that signs tokens, and the root."""
        return (self.folder / "tsa.pem").read_text() + self.root

    def entry(self, **changes: Any) -> TimestampAuthority:
        """Return its entry in a trust file, which allows reports of any age."""
        values: dict[str, Any] = {"name": "Clock & Sons", "max_delay_seconds": LONG}
        certificates = changes.pop("certificates", self.root)
        return trust_authority(certificates, **(values | changes))

    def answer(self, query: bytes) -> bytes:
        """Return a TimeStampResp, as the authority gives it."""
        asked, given = self.folder / "query.tsq", self.folder / "answer.tsr"
        asked.write_bytes(query)
        openssl(
            "ts", "-reply", "-config", self.folder / "settings.cnf",
            "-queryfile", asked, "-out", given,
        )  # fmt: skip
        return given.read_bytes()

    def stamp(self, bundle: bytes) -> bytes:
        """Return a bundle with a token over its signature."""
        answer = self.answer(timestamp_query(parse_bundle(bundle).signature))
        return attach_token(bundle, granted_response(answer))

    def trust(self, signed: Signed, **changes: Any) -> TrustFile:
        """Return a trust file with a signer's key and this authority."""
        return TrustFile(keys=(signed.entry,), timestamp_authorities=(self.entry(**changes),))


def make_authority(folder: Path, *, key: str = "ec") -> Authority:
    """Make an authority with keys of a kind."""
    (folder / "settings.cnf").write_text(SETTINGS.format(folder=folder))
    (folder / "serial").write_text("01")
    (folder / "usage").write_text("extendedKeyUsage=critical,timeStamping\n")
    openssl(
        "req", "-x509", "-newkey", *KEYS[key], "-nodes", "-days", "3650", "-subj", "/CN=Root",
        "-keyout", folder / "root.key", "-out", folder / "root.pem",
    )  # fmt: skip
    openssl(
        "req", "-newkey", *KEYS[key], "-nodes", "-subj", "/CN=Time",
        "-keyout", folder / "tsa.key", "-out", folder / "tsa.csr",
    )  # fmt: skip
    openssl(
        "x509", "-req", "-days", "3650", "-in", folder / "tsa.csr", "-out", folder / "tsa.pem",
        "-CA", folder / "root.pem", "-CAkey", folder / "root.key", "-CAcreateserial",
        "-extfile", folder / "usage",
    )  # fmt: skip
    return Authority(folder)


def openssl(*arguments: object) -> None:
    """Run OpenSSL."""
    subprocess.run(["openssl", *map(str, arguments)], capture_output=True, check=True)
