"""A signing key that never leaves a key service: AWS KMS, P-256.

Its public part is configured and not asked for, so that a key service which is taken over cannot
put another key in its place.
"""

from typing import Final, Self, final

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Key, SecretsHandler, Signature, Signer
from typing_extensions import override

from auditor.attest.keys import SELF_TEST, KeyAlgorithm, algorithm_of, verifier_of
from auditor.errors import InputError, UnavailableError, UnsupportedError
from service.keys import read_public_key
from service.signing_config import SigningConfig

SCHEME: Final = "awskms"


@final
class KeyServiceSigner(Signer):
    """Signs by a key service; whatever keeps it from signing now is an unavailable service.

    Args:
        inner: Talks to the key service.
        key: The key's address, for messages.
    """

    def __init__(self, inner: Signer, *, key: str) -> None:
        self._inner = inner
        self._key = key

    @property
    @override
    def public_key(self) -> Key:
        return self._inner.public_key

    @classmethod
    @override
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None
    ) -> Self:
        return cls(
            Signer.from_priv_key_uri(priv_key_uri, public_key, secrets_handler), key=priv_key_uri
        )

    @override
    def sign(self, payload: bytes) -> Signature:
        """Return the key service's signature over the payload's SHA-256.

        Raises:
            UnavailableError: If the key service does not sign: an audit waits for it.
        """
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - extra [aws]

        try:
            return self._inner.sign(payload)
        except (BotoCoreError, ClientError) as error:
            raise UnavailableError(
                f"key service, {self._key}",
                expected="a signature",
                found=str(error),
                remedy="Check the key's address, its policy, the credentials and the network; "
                "audits wait meanwhile.",
            ) from error


def open_key_service(config: SigningConfig) -> Signer:
    """Return the signer of a configured key after it has signed, and verified, a constant.

    Raises:
        UnsupportedError: If the address is of another scheme, or the key is not P-256.
        InputError: If the client library is missing or not configured, or the configured public
            key is not that of the key service's.
        UnavailableError: If the key service does not sign.
    """
    if not config.key.startswith(f"{SCHEME}:"):
        raise UnsupportedError(
            "signing.key",
            expected=f"{SCHEME}:KEY, an address in AWS KMS",
            found=config.key,
            remedy="Keep the key in the data folder: leave [signing] out.",
        )
    public = read_public_key(config.public_key)
    if algorithm_of(public) is not KeyAlgorithm.P256:
        raise UnsupportedError(
            "signing.public_key",
            expected="ECDSA on P-256 (ECC_NIST_P256), which the key service has",
            found="Ed25519",
            remedy="Export the key service's own: `aws kms get-public-key`.",
        )
    verifier = verifier_of(public)
    signer = _connected(config.key, verifier)
    signature = signer.sign(SELF_TEST)
    try:
        verifier.verify_signature(signature, SELF_TEST)
    except UnverifiedSignatureError as error:
        raise InputError(
            "signing.public_key",
            expected=f"the public part of {config.key}",
            found=f"another key, {verifier.keyid[:16]}",
            remedy="Export it again: `aws kms get-public-key`.",
        ) from error
    return signer


def _connected(key: str, public: Key) -> Signer:
    try:
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - extra [aws]
    except ImportError as error:
        raise InputError(
            "signing.key",
            expected="the client library boto3",
            found="none",
            remedy="pip install 'stageaudit[aws]'",
        ) from error
    try:
        return KeyServiceSigner.from_priv_key_uri(key, public)
    except BotoCoreError as error:  # no region, a profile that does not exist
        raise InputError(
            "signing.key",
            expected="a region and credentials, as boto3 finds them",
            found=str(error),
            remedy="Set AWS_REGION and the credentials of the service's account.",
        ) from error
