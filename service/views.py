"""Wire messages as plain JSON values, for people and scripts."""

from typing import Any

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import status_pb2

from service.convert import to_iso
from service.status import CODE_BY_NUMBER, error_of


def view(message: Message) -> dict[str, Any]:
    """Return a message as JSON values.

    Enums are lower-case words without their prefix, times are ISO 8601, errors are objects with
    ``code``, ``where``, ``expected``, ``found`` and ``remedy``. Absent messages, bytes and empty
    text are left out.
    """
    plain: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.is_repeated:
            plain[field.name] = [_value(field, element) for element in value]
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            if message.HasField(field.name):
                plain[field.name] = _value(field, value)
        elif field.has_presence and not message.HasField(field.name):
            continue  # not known, which is not zero
        elif field.type != FieldDescriptor.TYPE_BYTES and value != "":
            plain[field.name] = _value(field, value)
    return plain


def view_error(status: status_pb2.Status) -> dict[str, str]:
    """Return a status as JSON values."""
    error = error_of(status, code=CODE_BY_NUMBER[status.code], text=status.message)
    return {
        "code": error.code,
        "where": error.where,
        "expected": error.expected,
        "found": error.found,
        "remedy": error.remedy,
    }


def _value(field: Any, value: Any) -> Any:  # noqa: ANN401 - any field of any message
    if isinstance(value, Timestamp):
        return to_iso(value)
    if isinstance(value, status_pb2.Status):
        return view_error(value)
    if isinstance(value, Message):
        return view(value)
    if field.enum_type is not None:
        return _word(field.enum_type, value)
    return value


def _word(enum: EnumDescriptor, number: int) -> str:
    """Return AUDIT_STATE_RUNNING of AuditState as ``running``."""
    names = [value.name for value in enum.values]
    prefix = names[0].removesuffix("UNSPECIFIED")
    found = enum.values_by_number.get(number)
    return found.name.removeprefix(prefix).lower() if found is not None else str(number)
