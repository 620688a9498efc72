"""Keys and trust files on disk.

A key folder (mode 0700) holds ``NAME.pem``, the private key as PKCS#8 with mode 0400, and
``NAME.pub.pem``, which may be given to anyone. The trust file is ``trust.json`` in the user's
configuration folder.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from securesystemslib.signer import Signer

from auditor.attest.authorities import TimestampAuthority, certificate_pem
from auditor.attest.keys import (
    KeyAlgorithm,
    KeyId,
    algorithm_of,
    check_signer,
    generate_key,
    keyid_of,
    load_signer,
    public_pem_of,
)
from auditor.attest.timestamp import RESPONSE_LIMIT_BYTES
from auditor.attest.trust import TrustedKey, TrustFile, format_trust, parse_trust
from auditor.errors import (
    ArtifactMissingError,
    ConflictError,
    InputError,
    PreconditionError,
)
from service.durable_files import replace, write_new

SIGNING_KEY = "signing"
TRUST_FILE = "trust.json"
KEY_LIMIT_BYTES = 64 * 1024
TRUST_LIMIT_BYTES = 2**20

FOLDER_MODE = 0o700
PRIVATE_MODE = 0o400
PUBLIC_MODE = 0o644
OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredKey:
    """A key pair on disk; the private part stays in its file."""

    private_path: Path
    public_path: Path
    public_pem: str
    keyid: KeyId
    algorithm: KeyAlgorithm


def create_signing_key(
    folder: Path,
    *,
    name: str = SIGNING_KEY,
    algorithm: KeyAlgorithm = KeyAlgorithm.ED25519,
    password: bytes | None = None,
) -> StoredKey:
    """Make a key pair and write it durably; an existing key is never replaced.

    Raises:
        ConflictError: If the folder has a key of this name.
        InputError: If the folder cannot be written.
    """
    pair = generate_key(algorithm=algorithm, password=password)
    private_path, public_path = _paths(folder, name)
    try:
        folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        write_new(private_path, pair.private_pem, mode=PRIVATE_MODE)
        replace(public_path, pair.public_pem.encode(), mode=PUBLIC_MODE)
    except FileExistsError as error:
        raise ConflictError(
            str(private_path),
            expected="no key of this name",
            found="one",
            remedy="Use it, or choose another name; a key is never overwritten.",
        ) from error
    except OSError as error:
        raise _unwritable(folder, error) from error
    return StoredKey(
        private_path=private_path,
        public_path=public_path,
        public_pem=pair.public_pem,
        keyid=pair.keyid,
        algorithm=algorithm,
    )


def has_signing_key(folder: Path, *, name: str = SIGNING_KEY) -> bool:
    """Say whether the folder has a key of this name."""
    return _paths(folder, name)[0].is_file()


def load_signing_key(
    folder: Path, *, name: str = SIGNING_KEY, password: bytes | None = None
) -> Signer:
    """Load a key, check who may read it, and let it sign and verify a constant.

    Raises:
        ArtifactMissingError: If there is no such key.
        PreconditionError: If others than the owner may read it.
        AuthenticationError: If it is encrypted and the password is missing or wrong.
        InputError: If the file is no private key.
        UnsupportedError: If it is neither Ed25519 nor P-256.
        InternalError: If its signature does not verify.
    """
    private_path, _ = _paths(folder, name)
    return load_private_key(private_path, password=password)


def load_private_key(path: Path, *, password: bytes | None = None) -> Signer:
    """Load a key by its file; otherwise as :func:`load_signing_key`.

    Raises:
        ArtifactMissingError: If there is no such key.
        PreconditionError: If others than the owner may read it.
        AuthenticationError: If it is encrypted and the password is missing or wrong.
        InputError: If the file is no private key.
        UnsupportedError: If it is neither Ed25519 nor P-256.
        InternalError: If its signature does not verify.
    """
    signer = load_signer(_read_private(path), password=password)
    check_signer(signer)
    return signer


def ensure_signing_key(
    folder: Path, *, name: str = SIGNING_KEY, password: bytes | None = None
) -> Signer:
    """Load the key, making it first where there is none; two starters get the same one.

    Raises:
        PreconditionError: If others than the owner may read the key that is there.
        AuthenticationError: If it is encrypted and the password is missing or wrong.
        InputError: If the folder cannot be written or the file is no private key.
    """
    if not has_signing_key(folder, name=name):
        try:
            create_signing_key(folder, name=name, password=password)
        except ConflictError:  # another process was faster
            return load_signing_key(folder, name=name, password=password)
    return load_signing_key(folder, name=name, password=password)


def describe_signing_key(
    folder: Path, *, name: str = SIGNING_KEY, password: bytes | None = None
) -> StoredKey:
    """Return what is public about a stored key, writing its public file again if it is gone.

    Raises:
        ArtifactMissingError: If there is no such key.
        AuthenticationError: If the public file is gone and the password is missing or wrong.
        InputError: If the public file is no public key.
    """
    private_path, public_path = _paths(folder, name)
    if not public_path.is_file():
        signer = load_signing_key(folder, name=name, password=password)
        replace(public_path, public_pem_of(signer).encode(), mode=PUBLIC_MODE)
    public_pem = read_public_key(public_path)
    return StoredKey(
        private_path=private_path,
        public_path=public_path,
        public_pem=public_pem,
        keyid=keyid_of(public_pem, where=str(public_path)),
        algorithm=algorithm_of(public_pem, where=str(public_path)),
    )


def read_public_key(path: Path) -> str:
    """Return a public key in PEM.

    Raises:
        ArtifactMissingError: If there is no such file.
        InputError: If it is no public key in PEM.
        UnsupportedError: If it is neither Ed25519 nor P-256.
    """
    try:
        text = _read(path, limit=KEY_LIMIT_BYTES).decode("ascii")
    except UnicodeDecodeError as error:
        raise InputError(
            str(path),
            expected="a public key in PEM",
            found="bytes that are no text",
            remedy="Export it with `openssl pkey -in KEY -pubout`.",
        ) from error
    keyid_of(text, where=str(path))
    return text


def read_trust(path: Path) -> TrustFile:
    """Return a trust file.

    Raises:
        ArtifactMissingError: If there is no such file.
        InputError: If it is malformed.
    """
    return parse_trust(_read(path, limit=TRUST_LIMIT_BYTES), where=str(path))


def trust_or_empty(path: Path) -> TrustFile:
    """Return a trust file, or one without keys where there is none yet.

    Raises:
        InputError: If it is malformed.
    """
    return read_trust(path) if path.exists() else TrustFile()


def add_trusted_key(path: Path, key: TrustedKey) -> TrustFile:
    """Add a key to a trust file, which is made if there is none.

    Raises:
        ConflictError: If the key is in it already.
        InputError: If the file is malformed or cannot be written.
    """
    return _write_trust(path, trust_or_empty(path).with_key(key))


def add_trusted_authority(path: Path, authority: TimestampAuthority) -> TrustFile:
    """Add a time-stamping authority to a trust file, which is made if there is none.

    Raises:
        ConflictError: If one of this name is in it already.
        InputError: If the file is malformed or cannot be written.
    """
    return _write_trust(path, trust_or_empty(path).with_authority(authority))


def read_authority(path: Path) -> str:
    """Return an authority's certificates in PEM, without comments around them.

    Raises:
        ArtifactMissingError: If there is no such file.
        InputError: If it has no certificate, or a malformed one.
    """
    text = _read(path, limit=KEY_LIMIT_BYTES).decode("utf-8", errors="replace")
    return certificate_pem(text, where=str(path))


def read_answer(path: Path) -> bytes:
    """Return a time-stamping authority's answer, not checked.

    Raises:
        ArtifactMissingError: If there is no such file.
        InputError: If it is too large for one.
    """
    return _read(path, limit=RESPONSE_LIMIT_BYTES)


def _write_trust(path: Path, trust: TrustFile) -> TrustFile:
    try:
        path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        replace(path, format_trust(trust), mode=PUBLIC_MODE)
    except OSError as error:
        raise _unwritable(path, error) from error
    return trust


def _paths(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / f"{name}.pem", folder / f"{name}.pub.pem"


def _read_private(path: Path) -> bytes:
    """Read a private key that nobody but its owner may read."""
    data = _read(path, limit=KEY_LIMIT_BYTES)
    mode = stat.S_IMODE(path.stat().st_mode)
    if os.name == "posix" and mode & OTHERS:
        raise PreconditionError(
            str(path),
            expected="mode 0400 or 0600",
            found=f"mode {mode:04o}: others may read the key",
            remedy=f"Run `chmod 400 {path}`; if others had access, make a new key.",
        )
    return data


def _read(path: Path, *, limit: int) -> bytes:
    """Read at most ``limit`` bytes; a larger file is refused, not cut."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError as error:
        raise ArtifactMissingError(
            str(path),
            expected="a file",
            found="none",
            remedy="Make a key with `stageaudit keys init`, or trust one with "
            "`stageaudit keys trust PUB.pem --name NAME`.",
        ) from error
    except OSError as error:
        raise InputError(
            str(path), expected="a readable file", found=error.strerror, remedy="Check the path."
        ) from error
    if len(data) > limit:
        raise InputError(
            str(path),
            expected=f"at most {limit} bytes",
            found="more",
            remedy="Pass the file that `stageaudit keys` wrote.",
        )
    return data


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(
        str(path),
        expected="a place that can be written",
        found=error.strerror,
        remedy="Check its owner and free space.",
    )
