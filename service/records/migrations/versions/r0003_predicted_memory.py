"""Predicted device memory of actions."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add what an action is predicted to need; nothing is known of those stored before."""
    for name in ("fixed_bytes", "lane_bytes"):
        op.add_column(
            "action", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0")
        )
