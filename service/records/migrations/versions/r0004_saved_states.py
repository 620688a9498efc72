"""Where running actions can go on from."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the hint to actions."""
    op.add_column("action", sa.Column("saved_digest", sa.String(length=64), nullable=True))
    op.add_column("action", sa.Column("saved_step", sa.BigInteger(), nullable=True))
