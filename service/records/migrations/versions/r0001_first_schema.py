"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create every table."""
    op.create_table(
        "tenant",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenant")),
    )
    op.create_table(
        "action",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("group_key", sa.String(length=64), nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("unmet", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("returned", sa.Integer(), nullable=False),
        sa.Column("deaths", sa.Integer(), nullable=False),
        sa.Column("max_lanes", sa.Integer(), nullable=True),
        sa.Column("not_before", sa.Float(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("lease_owner", sa.String(length=64), nullable=True),
        sa.Column("lease_until", sa.Float(), nullable=True),
        sa.Column("result_digest", sa.String(length=64), nullable=True),
        sa.Column("result_size", sa.BigInteger(), nullable=True),
        sa.Column("gradient_examples", sa.BigInteger(), nullable=True),
        sa.Column("compute_seconds", sa.Float(), nullable=True),
        sa.Column("group_lanes", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("used", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenant.id"], name=op.f("fk_action_tenant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_action")),
        sa.UniqueConstraint("tenant", "key", name=op.f("uq_action_tenant_key")),
    )
    op.create_index("ix_action_state_group_key", "action", ["state", "group_key"], unique=False)
    op.create_index("ix_action_state_lease_until", "action", ["state", "lease_until"], unique=False)
    op.create_index("ix_action_state_not_before", "action", ["state", "not_before"], unique=False)
    op.create_table(
        "audit",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("request_digest", sa.String(length=64), nullable=False),
        sa.Column("log_digest", sa.String(length=64), nullable=False),
        sa.Column("model_digest", sa.String(length=64), nullable=True),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("deadline", sa.Float(), nullable=False),
        sa.Column("operator", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("report_digest", sa.String(length=64), nullable=True),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("started", sa.Float(), nullable=True),
        sa.Column("finished", sa.Float(), nullable=True),
        sa.Column("updated", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenant.id"], name=op.f("fk_audit_tenant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index("ix_audit_state", "audit", ["state"], unique=False)
    op.create_index("ix_audit_tenant_id", "audit", ["tenant", "id"], unique=False)
    op.create_table(
        "blob_ref",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("last_seen", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenant.id"], name=op.f("fk_blob_ref_tenant")),
        sa.PrimaryKeyConstraint("tenant", "digest", name=op.f("pk_blob_ref")),
    )
    op.create_table(
        "model",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("format", sa.String(length=16), nullable=False),
        sa.Column("tensors", sa.BigInteger(), nullable=False),
        sa.Column("elements", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenant.id"], name=op.f("fk_model_tenant")),
        sa.PrimaryKeyConstraint("tenant", "digest", name=op.f("pk_model")),
    )
    op.create_index(
        "ix_model_tenant_created_digest", "model", ["tenant", "created", "digest"], unique=False
    )
    op.create_table(
        "operation",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenant.id"], name=op.f("fk_operation_tenant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_operation")),
    )
    op.create_index("ix_operation_tenant_id", "operation", ["tenant", "id"], unique=False)
    op.create_table(
        "report",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("bundle_digest", sa.String(length=64), nullable=False),
        sa.Column("bundle_size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("audit", sa.String(length=26), nullable=False),
        sa.Column("log_digest", sa.String(length=64), nullable=False),
        sa.Column("keyid", sa.String(length=64), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenant.id"], name=op.f("fk_report_tenant")),
        sa.PrimaryKeyConstraint("tenant", "digest", name=op.f("pk_report")),
        sa.UniqueConstraint("audit", name=op.f("uq_report_audit")),
    )
    op.create_index(
        "ix_report_tenant_created_digest", "report", ["tenant", "created", "digest"], unique=False
    )
    op.create_table(
        "request_id",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("request_digest", sa.String(length=64), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenant.id"], name=op.f("fk_request_id_tenant")),
        sa.PrimaryKeyConstraint("tenant", "id", name=op.f("pk_request_id")),
    )
    op.create_index("ix_request_id_created", "request_id", ["created"], unique=False)
    op.create_table(
        "stage_log",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("run", sa.String(length=128), nullable=False),
        sa.Column("stages", sa.Text(), nullable=False),
        sa.Column("steps", sa.BigInteger(), nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenant.id"], name=op.f("fk_stage_log_tenant")),
        sa.PrimaryKeyConstraint("tenant", "digest", name=op.f("pk_stage_log")),
    )
    op.create_index(
        "ix_stage_log_tenant_created_digest",
        "stage_log",
        ["tenant", "created", "digest"],
        unique=False,
    )
    op.create_table(
        "action_dep",
        sa.Column("action", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("needs", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.ForeignKeyConstraint(
            ["action"], ["action.id"], name=op.f("fk_action_dep_action"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["needs"], ["action.id"], name=op.f("fk_action_dep_needs")),
        sa.PrimaryKeyConstraint("action", "needs", name=op.f("pk_action_dep")),
    )
    op.create_index("ix_action_dep_needs", "action_dep", ["needs"], unique=False)
    op.create_table(
        "audit_action",
        sa.Column("audit", sa.String(length=26), nullable=False),
        sa.Column("action", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("cached", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["action"], ["action.id"], name=op.f("fk_audit_action_action")),
        sa.ForeignKeyConstraint(
            ["audit"], ["audit.id"], name=op.f("fk_audit_action_audit"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("audit", "action", name=op.f("pk_audit_action")),
    )
    op.create_index("ix_audit_action_action", "audit_action", ["action"], unique=False)
    op.create_table(
        "audit_event",
        sa.Column("audit", sa.String(length=26), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["audit"], ["audit.id"], name=op.f("fk_audit_event_audit"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("audit", "sequence", name=op.f("pk_audit_event")),
    )
