"""Keys are named by their digest, and only the two supported kinds are loaded."""

import subprocess

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from securesystemslib.signer import CryptoSigner, Signature, SSlibKey

from auditor.attest.keys import (
    KeyAlgorithm,
    algorithm_of,
    check_signer,
    generate_key,
    keyid_of,
    load_signer,
    normalise_public_pem,
    public_pem_of,
    verifier_of,
)
from auditor.errors import AuthenticationError, InputError, InternalError, UnsupportedError

ALGORITHMS = list(KeyAlgorithm)

# RFC 8410, section 10.1 and 10.3: the example key pair.
RFC8410_PUBLIC = """-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
"""
RFC8410_PRIVATE = b"""-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
"""


def private_pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_generated_key_signs_and_verifies(algorithm: KeyAlgorithm) -> None:
    pair = generate_key(algorithm=algorithm)
    signer = load_signer(pair.private_pem)

    signature = signer.sign(b"data")

    assert signature.keyid == pair.keyid == keyid_of(pair.public_pem)
    verifier_of(pair.public_pem).verify_signature(signature, b"data")
    assert public_pem_of(signer) == pair.public_pem
    assert algorithm_of(pair.public_pem) is algorithm


def test_generate_key_makes_another_key_each_time() -> None:
    assert generate_key().keyid != generate_key().keyid


def test_load_signer_reads_the_example_of_rfc_8410() -> None:
    assert public_pem_of(load_signer(RFC8410_PRIVATE)) == RFC8410_PUBLIC


@pytest.mark.tool("openssl")
def test_keyid_is_what_openssl_computes() -> None:
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-outform", "DER"],
        input=RFC8410_PUBLIC.encode(),
        capture_output=True,
        check=True,
    ).stdout
    digest = subprocess.run(
        ["openssl", "dgst", "-sha256", "-r"], input=der, capture_output=True, check=True
    ).stdout

    assert keyid_of(RFC8410_PUBLIC) == digest.decode().split()[0]


def test_private_key_stays_out_of_the_repr() -> None:
    pair = generate_key()

    assert "PRIVATE" not in repr(pair)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_encrypted_key_needs_its_password(algorithm: KeyAlgorithm) -> None:
    pair = generate_key(algorithm=algorithm, password=b"correct horse")

    assert load_signer(pair.private_pem, password=b"correct horse").public_key.keyid == pair.keyid
    with pytest.raises(AuthenticationError, match="expected a password"):
        load_signer(pair.private_pem)
    with pytest.raises(AuthenticationError, match="another one"):
        load_signer(pair.private_pem, password=b"wrong")


def test_plain_key_refuses_a_password() -> None:
    with pytest.raises(AuthenticationError, match="not encrypted"):
        load_signer(generate_key().private_pem, password=b"password")


@pytest.mark.parametrize("data", [b"", b"-----BEGIN PRIVATE KEY-----\n", RFC8410_PUBLIC.encode()])
def test_load_signer_refuses_other_bytes(data: bytes) -> None:
    with pytest.raises(InputError, match=r"PKCS#8 in PEM"):
        load_signer(data)


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(public_exponent=65537, key_size=2048),
        ec.generate_private_key(ec.SECP384R1()),
    ],
    ids=["rsa", "p384"],
)
def test_other_kinds_of_key_are_unsupported(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
) -> None:
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )

    with pytest.raises(UnsupportedError, match="Ed25519 or ECDSA on P-256"):
        load_signer(private_pem(key))
    with pytest.raises(UnsupportedError, match="Ed25519 or ECDSA on P-256"):
        keyid_of(public.decode())


@pytest.mark.parametrize("text", ["", "ssh-ed25519 AAAA", RFC8410_PRIVATE.decode(), "\N{SNOWMAN}"])
def test_keyid_refuses_what_is_no_public_key(text: str) -> None:
    with pytest.raises(InputError, match="a public key in PEM"):
        keyid_of(text)


def test_normalise_public_pem_ignores_line_ends_and_text_around() -> None:
    spelled = "Signer: example\r\n" + RFC8410_PUBLIC.replace("\n", "\r\n")

    assert normalise_public_pem(spelled) == RFC8410_PUBLIC


class FaultySigner(CryptoSigner):
    """Flips one bit of every signature, as a faulty memory would."""

    def sign(self, payload: bytes) -> Signature:
        signature = super().sign(payload)
        raw = bytearray.fromhex(signature.signature)
        raw[-1] ^= 1
        return Signature(signature.keyid, raw.hex())


def test_check_signer_finds_a_faulty_signature() -> None:
    private = ed25519.Ed25519PrivateKey.generate()

    with pytest.raises(InternalError, match="Do not use this key"):
        check_signer(FaultySigner(private, SSlibKey.from_crypto(private.public_key())))
