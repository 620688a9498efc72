"""The token file and what it lets through."""

import pytest

from auditor.errors import ArtifactMissingError, AuthenticationError
from service.auth import (
    Caller,
    TokenAuthority,
    require_tenant,
    sees_every_tenant,
    set_caller,
)
from service.token_file import TokenEntry

AUTHORITY = TokenAuthority([
    TokenEntry(token="sa_x"), TokenEntry(token="sa_z", tenant="team-b"),  # noqa: S106
])  # fmt: skip


def test_right_token_is_let_through() -> None:
    caller = AUTHORITY.authenticate(
        [("user-agent", "t"), ("authorization", "Bearer sa_x")], request_id="r"
    )

    assert caller == Caller(tenant="default", principal="token", request_id="r")


def test_every_token_stands_for_its_tenant() -> None:
    caller = AUTHORITY.authenticate([("authorization", "Bearer sa_z")], request_id="r")

    assert caller.tenant == "team-b"


@pytest.mark.parametrize(
    "metadata",
    [
        [],
        [("authorization", "Bearer sa_y")],
        [("authorization", "Bearer ")],
        [("authorization", "sa_x")],
        [("authorization", "Basic sa_x")],
        [("authorization", b"\xff")],
        [("authorization", "Bearer sa_y"), ("authorization", "Bearer sa_x")],
    ],
)
def test_anything_else_is_refused(metadata: list) -> None:
    with pytest.raises(AuthenticationError, match="authorization"):
        AUTHORITY.authenticate(metadata, request_id="r")


def test_refusal_does_not_repeat_what_was_sent() -> None:
    with pytest.raises(AuthenticationError) as caught:
        AUTHORITY.authenticate([("authorization", "Bearer hush")], request_id="r")

    assert "hush" not in str(caught.value)


def test_name_of_another_tenant_does_not_exist() -> None:
    set_caller(Caller(tenant="a", principal="p", request_id="r"))

    assert require_tenant("a", name="tenants/a") == "a"
    with pytest.raises(ArtifactMissingError):
        require_tenant("b", name="tenants/b")


@pytest.mark.parametrize(("tenant", "every"), [("default", True), ("team-b", False)])
def test_only_the_tenant_of_the_first_token_sees_the_others(*, tenant: str, every: bool) -> None:
    set_caller(Caller(tenant=tenant, principal="token", request_id="r"))

    assert sees_every_tenant() is every
