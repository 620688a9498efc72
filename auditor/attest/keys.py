"""Signing keys: made, loaded and named. Ed25519, or ECDSA on P-256 with SHA-256.

A key's name, ``keyid``, is the SHA-256 of its SubjectPublicKeyInfo in DER, in hexadecimal: what
``openssl pkey -pubin -outform DER | sha256sum`` prints.
"""

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import CryptoSigner, Signer, SSlibKey

from auditor.errors import AuthenticationError, InputError, InternalError, UnsupportedError

KeyId = NewType("KeyId", str)
"""SHA-256 of a public key's SubjectPublicKeyInfo, 64 lower-case hexadecimal characters."""

PrivateKey = Ed25519PrivateKey | ec.EllipticCurvePrivateKey
PublicKey = Ed25519PublicKey | ec.EllipticCurvePublicKey

SELF_TEST = b"stageaudit signing self-test"


class KeyAlgorithm(StrEnum):
    """What a key signs with."""

    ED25519 = "ed25519"
    P256 = "p256"


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyPair:
    """A new key.

    Attributes:
        private_pem: PKCS#8, encrypted when a password was given; never shown in a repr.
        public_pem: SubjectPublicKeyInfo.
        keyid: Name of the public key.
    """

    private_pem: bytes = field(repr=False)
    public_pem: str
    keyid: KeyId


def generate_key(
    *, algorithm: KeyAlgorithm = KeyAlgorithm.ED25519, password: bytes | None = None
) -> KeyPair:
    """Make a signing key from the operating system's randomness.

    Args:
        algorithm: Ed25519, or P-256 where FIPS or a key service asks for it.
        password: Encrypts the private part (PBES2, AES-256) when given.
    """
    private: PrivateKey
    match algorithm:
        case KeyAlgorithm.ED25519:
            private = Ed25519PrivateKey.generate()
        case KeyAlgorithm.P256:
            private = ec.generate_private_key(ec.SECP256R1())
    protection: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        protection = serialization.BestAvailableEncryption(password)
    public = private.public_key()
    return KeyPair(
        private_pem=private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection
        ),
        public_pem=_pem(public),
        keyid=_keyid(public),
    )


def load_signer(private_pem: bytes, *, password: bytes | None = None) -> Signer:
    """Return a signer for a PKCS#8 key; its ``public_key.keyid`` is our ``keyid``.

    Raises:
        AuthenticationError: If the key is encrypted and the password is missing or wrong.
        InputError: If the bytes are no private key in PEM.
        UnsupportedError: If it is neither Ed25519 nor P-256.
    """
    try:
        private = serialization.load_pem_private_key(private_pem, password)
    except TypeError as error:  # encrypted without a password, or a password without encryption
        encrypted = password is None
        raise AuthenticationError(
            "private key",
            expected="a password" if encrypted else "no password: the key is not encrypted",
            found="none" if encrypted else "one",
            remedy="Pass the password it was created with, or none if there was none.",
        ) from error
    except UnsupportedAlgorithm as error:
        raise _unsupported("private key") from error
    except ValueError as error:
        if password is not None:
            raise AuthenticationError(
                "private key",
                expected="the password it was created with",
                found="another one, or a damaged file",
                remedy="Check the password.",
            ) from error
        raise InputError(
            "private key",
            expected="PKCS#8 in PEM",
            found="something else",
            remedy="Create a key with `stageaudit keys init`.",
        ) from error
    if not isinstance(private, Ed25519PrivateKey | ec.EllipticCurvePrivateKey):
        raise _unsupported("private key")
    public = _supported(private.public_key(), where="private key")
    return CryptoSigner(private, SSlibKey.from_crypto(public, keyid=_keyid(public)))


def normalise_public_pem(public_pem: str, *, where: str = "public key") -> str:
    """Return the public key in the spelling that :func:`generate_key` uses.

    Raises:
        InputError: If the text is no public key in PEM.
        UnsupportedError: If it is neither Ed25519 nor P-256.
    """
    return _pem(_load_public(public_pem, where=where))


def keyid_of(public_pem: str, *, where: str = "public key") -> KeyId:
    """Return the SHA-256 of the key's SubjectPublicKeyInfo.

    Raises:
        InputError: If the text is no public key in PEM.
        UnsupportedError: If it is neither Ed25519 nor P-256.
    """
    return _keyid(_load_public(public_pem, where=where))


def algorithm_of(public_pem: str, *, where: str = "public key") -> KeyAlgorithm:
    """Return what the key signs with.

    Raises:
        InputError: If the text is no public key in PEM.
        UnsupportedError: If it is neither Ed25519 nor P-256.
    """
    public = _load_public(public_pem, where=where)
    return KeyAlgorithm.ED25519 if isinstance(public, Ed25519PublicKey) else KeyAlgorithm.P256


def verifier_of(public_pem: str, *, where: str = "public key") -> SSlibKey:
    """Return the key that verifies signatures, named by our ``keyid``.

    Raises:
        InputError: If the text is no public key in PEM.
        UnsupportedError: If it is neither Ed25519 nor P-256.
    """
    public = _load_public(public_pem, where=where)
    return SSlibKey.from_crypto(public, keyid=_keyid(public))


def public_pem_of(signer: Signer) -> str:
    """Return the public part of a signer's key.

    Raises:
        UnsupportedError: If the key is neither Ed25519 nor P-256.
    """
    key = signer.public_key
    value = str(key.keyval.get("public", ""))
    if key.keytype == "ed25519":
        return _pem(Ed25519PublicKey.from_public_bytes(bytes.fromhex(value)))
    return normalise_public_pem(value, where="signer")


def check_signer(signer: Signer) -> None:
    """Sign a constant and verify it: finds a wrong pair or a faulty key service before use.

    Raises:
        InternalError: If the signature does not verify with the signer's own public key.
    """
    signature = signer.sign(SELF_TEST)
    try:
        verifier_of(public_pem_of(signer)).verify_signature(signature, SELF_TEST)
    except UnverifiedSignatureError as error:
        raise InternalError(
            "signer",
            expected="a signature that verifies with its own public key",
            found="one that does not",
            remedy="Do not use this key; check the key service or the memory of this machine.",
        ) from error


def _load_public(public_pem: str, *, where: str) -> PublicKey:
    try:
        public = serialization.load_pem_public_key(public_pem.encode())
    except UnsupportedAlgorithm as error:
        raise _unsupported(where) from error
    except ValueError as error:
        raise InputError(
            where,
            expected="a public key in PEM (BEGIN PUBLIC KEY)",
            found="something else",
            remedy="Export it with `openssl pkey -in KEY -pubout`.",
        ) from error
    return _supported(public, where=where)


def _supported(public: object, *, where: str) -> PublicKey:
    if isinstance(public, Ed25519PublicKey):
        return public
    if isinstance(public, ec.EllipticCurvePublicKey) and isinstance(public.curve, ec.SECP256R1):
        return public
    raise _unsupported(where)


def _unsupported(where: str) -> UnsupportedError:
    return UnsupportedError(
        where,
        expected="Ed25519 or ECDSA on P-256",
        found="another kind of key",
        remedy="Use a key made by `stageaudit keys init`.",
    )


def _pem(public: PublicKey) -> str:
    return public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode("ascii")


def _keyid(public: PublicKey) -> KeyId:
    der = public.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return KeyId(hashlib.sha256(der).hexdigest())
