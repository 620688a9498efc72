"""Which front end plans or signs an audit."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add who carries an audit on, and until when."""
    op.add_column("audit", sa.Column("carrier", sa.String(length=64), nullable=True))
    op.add_column("audit", sa.Column("carried_until", sa.Float(), nullable=True))
