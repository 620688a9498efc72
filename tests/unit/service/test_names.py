"""Resource names: what is accepted comes back, everything else is an InputError."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.errors import InputError
from auditor.stagelog.digest import Digest, sha256
from service.names import (
    BlobName,
    UploadName,
    member_name,
    parse_blob,
    parse_member,
    parse_parent,
    parse_request_id,
    parse_upload,
)

DIGEST = sha256(b"x")
digests = st.binary(max_size=8).map(sha256)
tenants = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)


@given(tenant=tenants, digest=digests, size=st.integers(0, 2**50))
def test_blob_name_comes_back(tenant: str, digest: Digest, size: int) -> None:
    name = BlobName(tenant=tenant, digest=digest, size=size)

    assert parse_blob(str(name)) == name


@given(tenant=tenants, digest=digests, size=st.integers(0, 2**50), upload=st.uuids(version=4))
def test_upload_name_comes_back(tenant: str, digest: Digest, size: int, upload: uuid.UUID) -> None:
    name = UploadName(tenant=tenant, upload=str(upload), digest=digest, size=size)

    assert parse_upload(str(name)) == name


@given(st.text(max_size=200))
def test_any_text_is_a_name_or_an_input_error(text: str) -> None:
    for parse in (parse_parent, parse_blob, parse_upload):
        with pytest.raises(InputError):
            parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "tenants/Default/models/" + DIGEST,
        "tenants/a/models/" + DIGEST.upper(),
        "tenants/a/models/" + DIGEST + "\n",
        "tenants/../models/" + DIGEST,
        "tenants/a/stageLogs/" + DIGEST,
        "tenants/" + "a" * 64 + "/models/" + DIGEST,
    ],
)
def test_wrong_member_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="tenants"):
        parse_member(text, collection="models")


def test_member_comes_back() -> None:
    name = member_name("a", "audits", "01J0000000000000000000000A")

    assert parse_member(name, collection="audits") == ("a", "01J0000000000000000000000A")


def test_request_id_is_a_uuid4_or_absent() -> None:
    identity = str(uuid.uuid4())

    assert parse_request_id(identity) == identity
    assert parse_request_id("") is None
    with pytest.raises(InputError, match="request_id"):
        parse_request_id(str(uuid.uuid1()))
