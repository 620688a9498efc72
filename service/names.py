"""Resource names: ``tenants/{tenant}/...`` to values and back."""

import re
from dataclasses import dataclass

from typing_extensions import override

from auditor.errors import InputError
from auditor.stagelog.digest import Digest

TENANT_PATTERN = r"[a-z0-9][a-z0-9-]{0,62}"
_DIGEST = r"[0-9a-f]{64}"
_UUID4 = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
_ULID = r"[0-7][0-9A-HJKMNP-TV-Z]{25}"
_SIZE = r"0|[1-9][0-9]{0,17}"

_PARENT = re.compile(f"tenants/({TENANT_PATTERN})")
_BLOB = re.compile(f"tenants/({TENANT_PATTERN})/blobs/({_DIGEST})/({_SIZE})")
_UPLOAD = re.compile(f"tenants/({TENANT_PATTERN})/uploads/({_UUID4})/blobs/({_DIGEST})/({_SIZE})")
_REQUEST_ID = re.compile(_UUID4)
_COLLECTIONS = {
    "stageLogs": re.compile(f"tenants/({TENANT_PATTERN})/stageLogs/({_DIGEST})"),
    "models": re.compile(f"tenants/({TENANT_PATTERN})/models/({_DIGEST})"),
    "reports": re.compile(f"tenants/({TENANT_PATTERN})/reports/({_DIGEST})"),
    "audits": re.compile(f"tenants/({TENANT_PATTERN})/audits/({_ULID})"),
    "operations": re.compile(f"tenants/({TENANT_PATTERN})/operations/({_ULID})"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class BlobName:
    """``tenants/{tenant}/blobs/{sha256}/{size}``."""

    tenant: str
    digest: Digest
    size: int

    @override
    def __str__(self) -> str:
        return f"tenants/{self.tenant}/blobs/{self.digest}/{self.size}"


@dataclass(frozen=True, kw_only=True, slots=True)
class UploadName:
    """``tenants/{tenant}/uploads/{uuid4}/blobs/{sha256}/{size}``."""

    tenant: str
    upload: str
    digest: Digest
    size: int

    @override
    def __str__(self) -> str:
        return f"tenants/{self.tenant}/uploads/{self.upload}/blobs/{self.digest}/{self.size}"


def parse_parent(text: str, *, where: str = "parent") -> str:
    """Return the tenant of ``tenants/{tenant}``.

    Raises:
        InputError: If ``text`` is no such name.
    """
    return _match(_PARENT, text, where=where, shape="tenants/{tenant}").group(1)


def parse_member(text: str, *, collection: str, where: str = "name") -> tuple[str, str]:
    """Return tenant and id of ``tenants/{tenant}/{collection}/{id}``.

    Args:
        text: The name.
        collection: ``stageLogs``, ``models``, ``reports``, ``audits`` or ``operations``.
        where: The field it stands in.

    Returns:
        The tenant and the id.

    Raises:
        InputError: If ``text`` is no such name.
    """
    shape = f"tenants/{{tenant}}/{collection}/{{id}}"
    match = _match(_COLLECTIONS[collection], text, where=where, shape=shape)
    return match.group(1), match.group(2)


def member_name(tenant: str, collection: str, identity: str) -> str:
    """Return ``tenants/{tenant}/{collection}/{id}``."""
    return f"tenants/{tenant}/{collection}/{identity}"


def parse_blob(text: str, *, where: str = "name") -> BlobName:
    """Return the parts of a blob's name.

    Raises:
        InputError: If ``text`` is no such name.
    """
    match = _match(_BLOB, text, where=where, shape="tenants/{tenant}/blobs/{sha256}/{size}")
    return BlobName(tenant=match[1], digest=Digest(match[2]), size=int(match[3]))


def parse_upload(text: str, *, where: str = "resource_name") -> UploadName:
    """Return the parts of an upload's name.

    Raises:
        InputError: If ``text`` is no such name.
    """
    shape = "tenants/{tenant}/uploads/{uuid4}/blobs/{sha256}/{size}"
    match = _match(_UPLOAD, text, where=where, shape=shape)
    return UploadName(tenant=match[1], upload=match[2], digest=Digest(match[3]), size=int(match[4]))


def parse_request_id(text: str) -> str | None:
    """Return a request id, or None when the caller sent none.

    Raises:
        InputError: If ``text`` is neither empty nor a UUID4.
    """
    return _match(_REQUEST_ID, text, where="request_id", shape="a UUID4").group() if text else None


def _match(pattern: re.Pattern[str], text: str, *, where: str, shape: str) -> re.Match[str]:
    match = pattern.fullmatch(text)
    if match is None:
        raise InputError(
            where, expected=shape, found=text, remedy="Use the name that the service answered."
        )
    return match
