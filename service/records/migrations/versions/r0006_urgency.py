"""How urgent an action is, beside it: the queue is ordered without its audits."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_URGENCY = """
UPDATE action SET
    priority = coalesce((SELECT max(audit.priority) FROM audit JOIN audit_action
        ON audit.id = audit_action.audit WHERE audit_action.action = action.id
        AND audit.state IN ('PLANNED', 'RUNNING', 'SIGNING')), 0),
    deadline = coalesce((SELECT min(audit.deadline) FROM audit JOIN audit_action
        ON audit.id = audit_action.audit WHERE audit_action.action = action.id
        AND audit.state IN ('PLANNED', 'RUNNING', 'SIGNING')), 0)
WHERE state IN ('BLOCKED', 'READY', 'LEASED')
"""


def upgrade() -> None:
    """Add priority and deadline to actions, from the audits that want them."""
    op.add_column("action", sa.Column("priority", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("action", sa.Column("deadline", sa.Float(), nullable=False, server_default="0"))
    op.execute(_URGENCY)
    op.create_index(
        "ix_action_state_tenant_urgency",
        "action",
        ["state", "tenant", "priority", "not_before", "deadline", "height", "group_key"],
        unique=False,
    )
