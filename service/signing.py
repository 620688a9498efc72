"""The key that this service signs reports with: a file of its data folder, or a key service's."""

from typing import Final

from securesystemslib.signer import Signer

from auditor.attest.keys import public_pem_of
from auditor.edge.clock import Clock
from service.config import ServiceConfig
from service.durable_files import replace
from service.key_service import open_key_service
from service.keys import PUBLIC_MODE, ensure_signing_key

REMOTE: Final = "key-service"


def service_signer(config: ServiceConfig, *, clock: Clock) -> Signer:
    """Return the signer after it has signed and verified a constant.

    The public part of a key service's key is kept among the service's own, by its name, so that
    what it has signed can be verified when another key signs.

    Args:
        config: Where the key is.
        clock: Says when a key service that failed is asked again.

    Raises:
        AuditorError: If the key cannot be used; see :mod:`service.keys` and
            :mod:`service.key_service`.
    """
    if config.signing is None:
        return ensure_signing_key(config.keys_dir)
    signer = open_key_service(config.signing, clock=clock)
    config.keys_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = f"{REMOTE}-{signer.public_key.keyid[:16]}.pub.pem"
    replace(config.keys_dir / name, public_pem_of(signer).encode(), mode=PUBLIC_MODE)
    return signer
