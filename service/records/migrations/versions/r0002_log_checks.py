"""What checks said about stage logs."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the table of finished log checks."""
    op.create_table(
        "log_check",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("log_digest", sa.String(length=64), nullable=False),
        sa.Column("complete", sa.Integer(), nullable=False),
        sa.Column("consistent", sa.Integer(), nullable=False),
        sa.Column("causes", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=True),
        sa.Column("created", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenant.id"], name=op.f("fk_log_check_tenant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_log_check")),
    )
    op.create_index(
        "ix_log_check_tenant_log_digest_id",
        "log_check",
        ["tenant", "log_digest", "id"],
        unique=False,
    )
