"""Rows to wire messages and back; pure."""

from datetime import UTC, datetime
from typing import Literal

from google.protobuf import timestamp_pb2

from auditor.errors import InputError
from service.names import BlobName, member_name
from service.pb.v1 import model_pb2, report_pb2, stage_log_pb2
from service.records.base import LogState, ModelRow, ReportRow, StageLogRow

_FORMATS: dict[Literal["safetensors", "onnx"], model_pb2.ModelFormat.ValueType] = {
    "safetensors": model_pb2.MODEL_FORMAT_SAFETENSORS,
    "onnx": model_pb2.MODEL_FORMAT_ONNX,
}

_LOG_STATES: dict[LogState, stage_log_pb2.StageLogState.ValueType] = {
    "unchecked": stage_log_pb2.STAGE_LOG_STATE_UNCHECKED,
    "consistent": stage_log_pb2.STAGE_LOG_STATE_CONSISTENT,
    "unusable": stage_log_pb2.STAGE_LOG_STATE_UNUSABLE,
}


def to_timestamp(seconds: float) -> timestamp_pb2.Timestamp:
    """Return seconds since 1970 as a message, to the microsecond."""
    stamp = timestamp_pb2.Timestamp()
    stamp.FromMicroseconds(round(seconds * 1_000_000))
    return stamp


def from_timestamp(stamp: timestamp_pb2.Timestamp) -> float:
    """Return seconds since 1970."""
    return stamp.ToMicroseconds() / 1_000_000


def to_iso(stamp: timestamp_pb2.Timestamp) -> str:
    """Return an instant as text for people and JSON."""
    return datetime.fromtimestamp(from_timestamp(stamp), UTC).isoformat(timespec="milliseconds")


def to_stage_log(tenant: str, row: StageLogRow) -> stage_log_pb2.StageLog:
    """Return a row as its message."""
    return stage_log_pb2.StageLog(
        name=member_name(tenant, "stageLogs", row.digest),
        run=row.run,
        stages=row.stages,
        steps=row.steps,
        level=row.level,
        size_bytes=row.size_bytes,
        create_time=to_timestamp(row.created),
        state=_LOG_STATES[row.state],
        causes=row.causes,
    )


def to_model(tenant: str, row: ModelRow) -> model_pb2.Model:
    """Return a row as its message."""
    return model_pb2.Model(
        name=member_name(tenant, "models", row.digest),
        format=_FORMATS[row.format],
        tensors=row.tensors,
        elements=row.elements,
        size_bytes=row.size_bytes,
        create_time=to_timestamp(row.created),
    )


def to_report(tenant: str, row: ReportRow, *, bundle: bytes = b"") -> report_pb2.Report:
    """Return a row as its message, with the bundle when it is to be sent along."""
    blob = BlobName(tenant=tenant, digest=row.bundle_digest, size=row.bundle_size_bytes)
    return report_pb2.Report(
        name=member_name(tenant, "reports", row.digest),
        audit=member_name(tenant, "audits", row.audit),
        stage_log=member_name(tenant, "stageLogs", row.log_digest),
        keyid=row.keyid,
        bundle_size_bytes=row.bundle_size_bytes,
        bundle=bundle,
        bundle_blob=str(blob),
        create_time=to_timestamp(row.created),
    )


def from_model_format(value: model_pb2.ModelFormat.ValueType) -> Literal["safetensors", "onnx"]:
    """Return the format that a request names.

    Raises:
        InputError: If it names none.
    """
    for name, number in _FORMATS.items():
        if number == value:
            return name
    raise InputError(
        "format",
        expected="MODEL_FORMAT_SAFETENSORS or MODEL_FORMAT_ONNX",
        found=value,
        remedy="Say how the artifact is written.",
    )
