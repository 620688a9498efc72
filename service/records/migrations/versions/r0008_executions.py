"""How the group of a finished action was executed."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the name of the stored record to actions."""
    op.add_column("action", sa.Column("execution_digest", sa.String(length=64), nullable=True))
