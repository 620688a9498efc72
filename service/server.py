"""The gRPC server: which servicers it has, how it listens, how it stops."""

from dataclasses import dataclass
from typing import Any

import grpc
from google.longrunning import operations_pb2_grpc
from grpc_health.v1 import health_pb2_grpc

from auditor.errors import UnavailableError
from service.config import ServiceConfig
from service.interceptors import Edge
from service.pb.v1 import (
    admin_service_pb2_grpc,
    audit_service_pb2_grpc,
    blob_service_pb2_grpc,
    model_service_pb2_grpc,
    policy_service_pb2_grpc,
    report_service_pb2_grpc,
    stage_log_service_pb2_grpc,
)
from service.servicers.health import Readiness


@dataclass(frozen=True, kw_only=True, slots=True)
class Servicers:
    """One servicer a service."""

    blobs: blob_service_pb2_grpc.BlobServiceServicer
    stage_logs: stage_log_service_pb2_grpc.StageLogServiceServicer
    models: model_service_pb2_grpc.ModelServiceServicer
    audits: audit_service_pb2_grpc.AuditServiceServicer
    operations: Any  # the wheel's servicer class has no types
    reports: report_service_pb2_grpc.ReportServiceServicer
    policies: policy_service_pb2_grpc.PolicyServiceServicer
    admin: admin_service_pb2_grpc.AdminServiceServicer


def build_server(
    config: ServiceConfig, *, edge: Edge, servicers: Servicers, readiness: Readiness
) -> grpc.aio.Server:
    """Return a server that knows every method and does not listen yet."""
    server = grpc.aio.server(
        interceptors=[edge],
        maximum_concurrent_rpcs=config.limits.calls_in_flight,
        options=[
            # Else a second server would bind the same port silently.
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", config.limits.message_bytes),
            ("grpc.max_send_message_length", config.limits.message_bytes),
            ("grpc.max_metadata_size", config.limits.metadata_bytes),
            ("grpc.max_concurrent_streams", 100),
            # How much a stream may send ahead: a few messages, however fast the network is.
            ("grpc.http2.bdp_probe", 0),
            ("grpc.http2.lookahead_bytes", 4 * 2**20),
        ],
    )
    blob_service_pb2_grpc.add_BlobServiceServicer_to_server(servicers.blobs, server)
    stage_log_service_pb2_grpc.add_StageLogServiceServicer_to_server(servicers.stage_logs, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(servicers.models, server)
    audit_service_pb2_grpc.add_AuditServiceServicer_to_server(servicers.audits, server)
    report_service_pb2_grpc.add_ReportServiceServicer_to_server(servicers.reports, server)
    policy_service_pb2_grpc.add_PolicyServiceServicer_to_server(servicers.policies, server)
    admin_service_pb2_grpc.add_AdminServiceServicer_to_server(servicers.admin, server)
    operations_pb2_grpc.add_OperationsServicer_to_server(servicers.operations, server)
    health_pb2_grpc.add_HealthServicer_to_server(readiness.servicer, server)
    if config.reflection:
        _add_reflection(server)
    return server


def listen(server: grpc.aio.Server, *, host: str, port: int) -> int:
    """Bind a port and return it.

    Raises:
        UnavailableError: If the port is taken.
    """
    shown = f"[{host}]" if ":" in host else host
    try:
        return server.add_insecure_port(f"{shown}:{port}")
    except RuntimeError as error:
        raise UnavailableError(
            "port",
            expected="a free port",
            found=f"{shown}:{port} in use",
            remedy="Stop the other service or choose another --port; 0 takes a free one.",
        ) from error


def _add_reflection(server: grpc.aio.Server) -> None:
    from grpc_reflection.v1alpha import reflection  # noqa: PLC0415 - only where it is asked for

    names = [
        f"stageaudit.v1.{name}Service"
        for name in ("Blob", "StageLog", "Model", "Audit", "Report", "Admin")
    ]
    reflection.enable_server_reflection(
        [*names, "google.longrunning.Operations", reflection.SERVICE_NAME], server
    )
