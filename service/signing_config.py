"""Settings of a signing key that a key service holds."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict


class SigningConfig(BaseModel):
    """Which key signs reports, where it is not a file of the data folder.

    Args:
        key: Its address, such as ``awskms:alias/stageaudit``; an AWS key of type ECC_NIST_P256.
        public_key: PEM file with its public part. It is what reports are verified by, and is never
            asked of the key service.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    public_key: Path
