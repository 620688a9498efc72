"""The token file and what it lets through."""

from pathlib import Path

import pytest

from auditor.errors import ArtifactMissingError, AuthenticationError
from service.auth import (
    Caller,
    TokenAuthority,
    load_or_create_token,
    require_tenant,
    set_caller,
)


def test_token_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "token"

    first = load_or_create_token(path)

    assert load_or_create_token(path) == first
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(first) > 40


def test_right_token_is_let_through() -> None:
    caller = TokenAuthority("sa_x").authenticate(
        [("user-agent", "t"), ("authorization", "Bearer sa_x")], request_id="r"
    )

    assert caller == Caller(tenant="default", principal="token", request_id="r")


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
        TokenAuthority("sa_x").authenticate(metadata, request_id="r")


def test_refusal_does_not_repeat_what_was_sent() -> None:
    with pytest.raises(AuthenticationError) as caught:
        TokenAuthority("sa_x").authenticate([("authorization", "Bearer hush")], request_id="r")

    assert "hush" not in str(caught.value)


def test_name_of_another_tenant_does_not_exist() -> None:
    set_caller(Caller(tenant="a", principal="p", request_id="r"))

    assert require_tenant("a", name="tenants/a") == "a"
    with pytest.raises(ArtifactMissingError):
        require_tenant("b", name="tenants/b")
