"""The tables, in SQL that SQLite and PostgreSQL both speak.

Times are seconds since 1970 in UTC; digests are hexadecimal text; bodies are canonical JSON. The
migrations in ``migrations/versions`` create exactly these tables, which a test compares.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_DIGEST = String(64)
# SQLite numbers rows by itself only for a column of type INTEGER.
_ROW_ID = BigInteger().with_variant(Integer, "sqlite")

# With these columns the head of the queue is found in the index alone.
_URGENCY = ("priority", "not_before", "deadline", "height", "group_key")

tenant = Table(
    "tenant",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("weight", Float, nullable=False),
    Column("created", Float, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("tenant", String(64), ForeignKey("tenant.id"), nullable=False),
    Column("request_digest", _DIGEST, nullable=False),
    Column("log_digest", _DIGEST, nullable=False),
    Column("model_digest", _DIGEST),
    Column("priority", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("round", Integer, nullable=False),
    Column("deadline", Float, nullable=False),
    Column("operator", Text),
    Column("error", Text),
    Column("report_digest", _DIGEST),
    Column("created", Float, nullable=False),
    Column("started", Float),
    Column("finished", Float),
    Column("updated", Float, nullable=False),
    Column("carrier", String(64)),  # the front end that plans or signs it
    Column("carried_until", Float),
    Column("kind", String(16), nullable=False, server_default="audit"),  # or check
    Index("ix_audit_tenant_id", "tenant", "id"),
    Index("ix_audit_tenant_log", "tenant", "log_digest"),
    Index("ix_audit_state", "state"),
)

action = Table(
    "action",
    metadata,
    Column("id", _ROW_ID, primary_key=True),
    Column("tenant", String(64), ForeignKey("tenant.id"), nullable=False),
    Column("key", _DIGEST, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("group_key", _DIGEST, nullable=False),
    Column("spec", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("unmet", Integer, nullable=False),
    Column("height", Integer, nullable=False),  # actions on the longest way to a report
    Column("fixed_bytes", BigInteger, nullable=False, server_default="0"),  # predicted, a group
    Column("lane_bytes", BigInteger, nullable=False, server_default="0"),  # predicted, a lane
    Column("attempt", Integer, nullable=False),
    Column("returned", Integer, nullable=False),  # attempts given back
    Column("deaths", Integer, nullable=False),  # workers it killed by its own fault
    Column("priority", Integer, nullable=False, server_default="0"),  # highest of its live audits
    Column("deadline", Float, nullable=False, server_default="0"),  # first of its live audits
    Column("max_lanes", Integer),  # smaller groups after a group with it failed
    Column("not_before", Float, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("lease_owner", String(64)),
    Column("lease_until", Float),
    Column("result_digest", _DIGEST),
    Column("result_size", BigInteger),
    Column("gradient_examples", BigInteger),
    Column("compute_seconds", Float),
    Column("group_lanes", Integer),
    Column("execution_digest", _DIGEST),  # the stored record of the group that computed it
    Column("error", Text),
    Column("created", Float, nullable=False),
    Column("used", Float, nullable=False),
    Column("saved_digest", _DIGEST),  # what it may go on from: a hint, in the folder of its own
    Column("saved_step", BigInteger),
    UniqueConstraint("tenant", "key"),
    Index("ix_action_state_not_before", "state", "not_before"),
    Index("ix_action_state_lease_until", "state", "lease_until"),
    Index("ix_action_state_group_key", "state", "group_key"),
    Index("ix_action_state_tenant_urgency", "state", "tenant", *_URGENCY),
)

audit_action = Table(
    "audit_action",
    metadata,
    Column("audit", String(26), ForeignKey("audit.id", ondelete="CASCADE"), primary_key=True),
    Column("action", _ROW_ID, ForeignKey("action.id"), primary_key=True),
    Column("round", Integer, nullable=False),
    Column("cached", Integer, nullable=False),  # 1: was done when the audit asked for it
    Index("ix_audit_action_action", "action"),
)

action_dep = Table(
    "action_dep",
    metadata,
    Column("action", _ROW_ID, ForeignKey("action.id", ondelete="CASCADE"), primary_key=True),
    Column("needs", _ROW_ID, ForeignKey("action.id"), primary_key=True),
    Index("ix_action_dep_needs", "needs"),
)

audit_event = Table(
    "audit_event",
    metadata,
    Column("audit", String(26), ForeignKey("audit.id", ondelete="CASCADE"), primary_key=True),
    Column("sequence", Integer, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("body", Text, nullable=False),
    Column("created", Float, nullable=False),
)

operation = Table(
    "operation",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("tenant", String(64), ForeignKey("tenant.id"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("created", Float, nullable=False),
    Index("ix_operation_tenant_id", "tenant", "id"),
)

blob_ref = Table(
    "blob_ref",
    metadata,
    Column("tenant", String(64), ForeignKey("tenant.id"), primary_key=True),
    Column("digest", _DIGEST, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("created", Float, nullable=False),
    Column("last_seen", Float, nullable=False),
)

stage_log = Table(
    "stage_log",
    metadata,
    Column("tenant", String(64), ForeignKey("tenant.id"), primary_key=True),
    Column("digest", _DIGEST, primary_key=True),
    Column("run", String(128), nullable=False),
    Column("stages", Text, nullable=False),  # JSON list of names
    Column("steps", BigInteger, nullable=False),
    Column("level", Integer, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("created", Float, nullable=False),
    Index("ix_stage_log_tenant_created_digest", "tenant", "created", "digest"),
)

log_check = Table(
    "log_check",
    metadata,
    Column("id", String(26), primary_key=True),  # of the operation that found it
    Column("tenant", String(64), ForeignKey("tenant.id"), nullable=False),
    Column("log_digest", _DIGEST, nullable=False),
    Column("complete", Integer, nullable=False),  # 1: every segment was replayed
    Column("consistent", Integer, nullable=False),
    Column("causes", Text, nullable=False),  # JSON list of lines
    Column("verdict", Text),  # JSON; none where the check failed before it had one
    Column("created", Float, nullable=False),
    Index("ix_log_check_tenant_log_digest_id", "tenant", "log_digest", "id"),
)

model = Table(
    "model",
    metadata,
    Column("tenant", String(64), ForeignKey("tenant.id"), primary_key=True),
    Column("digest", _DIGEST, primary_key=True),
    Column("format", String(16), nullable=False),
    Column("tensors", BigInteger, nullable=False),
    Column("elements", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("created", Float, nullable=False),
    Index("ix_model_tenant_created_digest", "tenant", "created", "digest"),
)

report = Table(
    "report",
    metadata,
    Column("tenant", String(64), ForeignKey("tenant.id"), primary_key=True),
    Column("digest", _DIGEST, primary_key=True),  # of the signed payload
    Column("bundle_digest", _DIGEST, nullable=False),
    Column("bundle_size_bytes", BigInteger, nullable=False),
    Column("audit", String(26), nullable=False, unique=True),  # exactly one report an audit
    Column("log_digest", _DIGEST, nullable=False),
    Column("keyid", _DIGEST, nullable=False),
    Column("created", Float, nullable=False),
    Index("ix_report_tenant_created_digest", "tenant", "created", "digest"),
)

request_id = Table(
    "request_id",
    metadata,
    Column("tenant", String(64), ForeignKey("tenant.id"), primary_key=True),
    Column("id", String(64), primary_key=True),
    Column("request_digest", _DIGEST, nullable=False),
    Column("answer", Text, nullable=False),  # id of what was created
    Column("created", Float, nullable=False),
    Index("ix_request_id_created", "created"),
)
