"""What an audit row is, kept when its operation is deleted: reports count all audits of a log."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_CHECKS = """
UPDATE audit SET kind = 'check' WHERE id IN (SELECT id FROM operation WHERE kind = 'check')
"""


def upgrade() -> None:
    """Add the kind to audits, from their operations; of deleted ones nothing else is known."""
    op.add_column("audit", sa.Column("kind", sa.String(16), nullable=False, server_default="audit"))
    op.execute(_CHECKS)
    op.create_index("ix_audit_tenant_log", "audit", ["tenant", "log_digest"], unique=False)
