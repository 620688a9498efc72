"""A signing key that never leaves a key service: AWS KMS, P-256.

Its public part is configured and not asked for, so that a key service which is taken over cannot
put another key in its place. Signing happens on the scheduler's thread: a key service that does not
answer is given a few seconds, and is then left alone for a while.
"""

from typing import Any, Final, Self, final

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import AWSSigner, Key, SecretsHandler, Signature, Signer
from typing_extensions import override

from auditor.attest.keys import SELF_TEST, KeyAlgorithm, algorithm_of, verifier_of
from auditor.edge.clock import Clock, SystemClock
from auditor.errors import InputError, UnavailableError, UnsupportedError
from service.keys import read_public_key
from service.signing_config import SigningConfig

SCHEME: Final = "awskms"
CONNECT_SECONDS: Final = 2.0
READ_SECONDS: Final = 3.0
ATTEMPTS: Final = 2
PAUSE_SECONDS: Final = 30.0
"""For how long a key service is not asked after it did not sign."""


@final
class KeyServiceSigner(Signer):
    """Signs by a key service; whatever keeps it from signing now is an unavailable service.

    After a failure it is not asked for :data:`PAUSE_SECONDS`, so that many audits that wait do not
    wait for it one after the other.

    Args:
        inner: Talks to the key service.
        key: The key's address, for messages.
        clock: Says when to ask again.
    """

    def __init__(self, inner: Signer, *, key: str, clock: Clock) -> None:
        self._inner = inner
        self._key = key
        self._clock = clock
        self._asks_from = float("-inf")
        self._failure = ""

    @property
    @override
    def public_key(self) -> Key:
        return self._inner.public_key

    @classmethod
    @override
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None
    ) -> Self:
        inner = _patient_for_seconds(priv_key_uri, public_key)
        return cls(inner, key=priv_key_uri, clock=SystemClock())

    @override
    def sign(self, payload: bytes) -> Signature:
        """Return the key service's signature over the payload's SHA-256.

        Raises:
            UnavailableError: If the key service does not sign, or did not a moment ago: an audit
                waits for it.
        """
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - extra [aws]

        pause = self._asks_from - self._clock.monotonic()
        if pause > 0:
            raise self._unavailable(f"not asked for {pause:.0f} s more: {self._failure}")
        try:
            return self._inner.sign(payload)
        except (BotoCoreError, ClientError) as error:
            self._asks_from = self._clock.monotonic() + PAUSE_SECONDS
            self._failure = str(error)
            raise self._unavailable(self._failure) from error

    def _unavailable(self, found: str) -> UnavailableError:
        return UnavailableError(
            f"key service, {self._key}",
            expected="a signature",
            found=found,
            remedy="Check the key's address, its policy, the credentials and the network; a "
            "service that runs keeps finished audits until it can sign, and none starts before.",
        )


def open_key_service(config: SigningConfig, *, clock: Clock) -> Signer:
    """Return the signer of a configured key after it has signed, and verified, a constant.

    Args:
        config: Which key.
        clock: Says when to ask again after a failure.

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
    signer = _connected(config.key, verifier, clock=clock)
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


def _connected(key: str, public: Key, *, clock: Clock) -> Signer:
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
        return KeyServiceSigner(_patient_for_seconds(key, public), key=key, clock=clock)
    except BotoCoreError as error:  # no region, a profile that does not exist
        raise InputError(
            "signing.key",
            expected="a region and credentials, as boto3 finds them",
            found=str(error),
            remedy="Set AWS_REGION and the credentials of the service's account.",
        ) from error


def short_client() -> Any:  # noqa: ANN401 - boto3 makes the class at run time
    """Return a client of AWS KMS that gives up after seconds; botocore's own waits for minutes."""
    import boto3  # noqa: PLC0415 - extra [aws]
    from botocore.config import Config  # noqa: PLC0415 - extra [aws]

    return boto3.client(
        "kms",
        config=Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"total_max_attempts": ATTEMPTS},
        ),
    )


def _patient_for_seconds(key: str, public: Key) -> AWSSigner:
    signer = AWSSigner.from_priv_key_uri(key, public)
    signer.client = short_client()
    return signer
