"""Every metric of the service: name, unit, labels, buckets.

The registry lives in the front end; workers send what they measured over their pipe. Labels never
hold digests, names or ids; ``tenant`` is cut to the first hundred tenants and ``other``.
"""

from typing import final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

TENANT_LIMIT = 100
OTHER_TENANT = "other"

_RPC_LABELS = ("grpc_type", "grpc_service", "grpc_method")
_RPC_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_AUDIT_SECONDS = (1, 5, 15, 60, 300, 900, 3600, 14400, 86400)
_ACTION_SECONDS = (0.01, 0.05, 0.25, 1, 5, 15, 60, 300, 1800, 7200)
_LANES = (1, 2, 4, 8, 16, 32, 64)
_FILL = (0.1, 0.25, 0.5, 0.75, 0.9, 1)
_TRANSACTION_SECONDS = (0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5)


@final
class Metrics:
    """One object a process; every attribute is a metric."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._tenants: set[str] = set()
        self._add_rpc_metrics()
        self._add_work_metrics()
        self._add_queue_metrics()
        self._add_store_metrics()
        self._add_process_metrics()

    def tenant_label(self, tenant: str) -> str:
        """Return the tenant, or ``other`` once a hundred tenants have labels of their own."""
        if tenant not in self._tenants:
            if len(self._tenants) >= TENANT_LIMIT:
                return OTHER_TENANT
            self._tenants.add(tenant)
        return tenant

    def exposition(self) -> bytes:
        """Return all values in the text format that Prometheus scrapes."""
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, *, labels: tuple[str, ...], buckets: tuple[float, ...]
    ) -> Histogram:
        return Histogram(name, text, labels, registry=self.registry, buckets=buckets)

    def _add_rpc_metrics(self) -> None:
        self.rpc_started = self._counter(
            "grpc_server_started_total", "Calls that arrived.", _RPC_LABELS
        )
        self.rpc_handled = self._counter(
            "grpc_server_handled_total", "Calls that ended.", (*_RPC_LABELS, "grpc_code")
        )
        self.rpc_messages_received = self._counter(
            "grpc_server_msg_received_total", "Messages received.", _RPC_LABELS
        )
        self.rpc_messages_sent = self._counter(
            "grpc_server_msg_sent_total", "Messages sent.", _RPC_LABELS
        )
        self.rpc_seconds = self._histogram(
            "grpc_server_handling_seconds",
            "Time from a call's arrival to its end.",
            labels=_RPC_LABELS,
            buckets=_RPC_SECONDS,
        )

    def _add_work_metrics(self) -> None:
        self.audits_finished = self._counter(
            "stageaudit_audits_finished_total", "Audits that ended.", ("tenant", "outcome")
        )
        self.audit_seconds = self._histogram(
            "stageaudit_audit_duration_seconds",
            "Time from an audit's acceptance to its end.",
            labels=("outcome",),
            buckets=_AUDIT_SECONDS,
        )
        self.actions_finished = self._counter(
            "stageaudit_actions_finished_total", "Actions that ended.", ("kind", "outcome")
        )
        self.action_wait_seconds = self._histogram(
            "stageaudit_action_wait_seconds",
            "Time from an action being ready to its start.",
            labels=("priority",),
            buckets=_ACTION_SECONDS,
        )
        self.action_seconds = self._histogram(
            "stageaudit_action_duration_seconds",
            "Time of an action on a device, shared between the lanes of its group.",
            labels=("kind", "device_kind"),
            buckets=_ACTION_SECONDS,
        )
        self.action_cache_lookups = self._counter(
            "stageaudit_action_cache_lookups_total",
            "Actions asked for: hit was done, joined was under way, miss is new.",
            ("kind", "result"),
        )
        self.group_lanes = self._histogram(
            "stageaudit_group_lanes",
            "Actions that ran together.",
            labels=("kind",),
            buckets=_LANES,
        )
        self.group_fill_ratio = self._histogram(
            "stageaudit_group_fill_ratio",
            "Lanes of a group relative to the most it could have had.",
            labels=("kind",),
            buckets=_FILL,
        )

    def _add_queue_metrics(self) -> None:
        self.queue_actions = self._gauge(
            "stageaudit_queue_actions", "Actions ready and not started.", ("priority",)
        )
        self.queue_oldest_age_seconds = self._gauge(
            "stageaudit_queue_oldest_age_seconds", "Age of the oldest ready action.", ("priority",)
        )
        self.admission_rejections = self._counter(
            "stageaudit_admission_rejections_total", "Audits that were refused.", ("reason",)
        )
        self.lease_expirations = self._counter(
            "stageaudit_lease_expirations_total", "Leases that ended without an answer."
        )
        self.worker_restarts = self._counter(
            "stageaudit_worker_restarts_total",
            "Worker processes started again.",
            ("device", "reason"),
        )
        self.states_saved = self._counter(
            "stageaudit_states_saved_total", "States of running trajectories that were stored."
        )
        self.steps_resumed = self._counter(
            "stageaudit_steps_resumed_total",
            "Steps that were not computed again, because a state after them was stored.",
        )
        self.oom_splits = self._counter(
            "stageaudit_oom_splits_total", "Groups halved because memory ran out.", ("kind",)
        )
        self.tenant_device_seconds = self._counter(
            "stageaudit_tenant_device_seconds_total",
            "Device time of groups, shared between their lanes.",
            ("tenant",),
        )
        self.queue_cost_bytes = self._gauge(
            "stageaudit_queue_cost_bytes",
            "Device memory predicted for the lanes of actions ready and not started.",
            ("priority",),
        )
        self.queue_cost_limit_bytes = self._gauge(
            "stageaudit_queue_cost_limit_bytes",
            "Device memory predicted for lanes up to which audits are admitted.",
        )
        self.device_memory_bytes = self._gauge(
            "stageaudit_device_memory_bytes",
            "Memory of a device: budget of its groups, reserved by prediction, used by the last.",
            ("device", "state"),
        )
        self.device_memory_prediction_ratio = self._gauge(
            "stageaudit_device_memory_prediction_ratio",
            "Memory that the last group needed at most over the prediction.",
            ("kind",),
        )
        self.device_busy_seconds = self._counter(
            "stageaudit_device_busy_seconds_total", "Time a device computed.", ("device",)
        )

    def _add_store_metrics(self) -> None:
        self.blob_bytes = self._counter(
            "stageaudit_blob_bytes_total", "Bytes of blobs moved: received or sent.", ("direction",)
        )
        self.uploads_active = self._gauge(
            "stageaudit_uploads_active", "Uploads that are being received."
        )
        self.store_free_bytes = self._gauge(
            "stageaudit_store_free_bytes", "Free space of a store.", ("store",)
        )
        self.store_size_bytes = self._gauge(
            "stageaudit_store_size_bytes", "Size of the file system of a store.", ("store",)
        )
        self.blob_corruptions = self._counter(
            "stageaudit_blob_corruptions_total", "Stored blobs that no longer match their digest."
        )
        self.transaction_seconds = self._histogram(
            "stageaudit_db_transaction_seconds",
            "Time of a write transaction.",
            labels=("operation",),
            buckets=_TRANSACTION_SECONDS,
        )

    def _add_process_metrics(self) -> None:
        self.timestamps = self._counter(
            "stageaudit_timestamps_total", "Reports to be time-stamped, by result.", ("result",)
        )
        self.signatures = self._counter(
            "stageaudit_signatures_total", "Reports signed, by result.", ("result",)
        )
        self.auth_failures = self._counter(
            "stageaudit_auth_failures_total", "Calls without valid credentials.", ("reason",)
        )
        self.sandbox_kills = self._counter(
            "stageaudit_sandbox_kills_total", "Parse children stopped by a limit.", ("limit",)
        )
        self.ready = self._gauge("stageaudit_ready", "Whether the service takes requests.")
        self.build = Info("stageaudit_build", "What is running.", registry=self.registry)
