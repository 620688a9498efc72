"""Page sizes are cut; tokens belong to one list and cannot be made by a caller."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.errors import InputError
from service.paging import PageTokens, cut_page, page_size
from service.records.base import Position

POSITION = Position(created=12.5, digest="ab")
TOKENS = PageTokens(b"secret")


@pytest.mark.parametrize(("asked", "given_"), [(0, 50), (1, 1), (1000, 1000), (5000, 1000)])
def test_page_size_is_cut(asked: int, given_: int) -> None:
    assert page_size(asked) == given_


def test_negative_page_size_is_refused() -> None:
    with pytest.raises(InputError, match="page_size"):
        page_size(-1)


@given(created=st.floats(0, 4e9), digest=st.text("0123456789abcdef", max_size=64))
def test_token_comes_back(created: float, digest: str) -> None:
    position = Position(created=created, digest=digest)

    assert TOKENS.read(TOKENS.write(position, scope=("a",)), scope=("a",)) == position


def test_no_token_is_the_first_page() -> None:
    assert TOKENS.read("", scope=("a",)) is None


@pytest.mark.parametrize(
    "scope", [("models", "a"), ("logs", "b"), ("logs", "a", "x"), ("log", "sa")]
)
def test_token_of_another_list_is_refused(scope: tuple[str, ...]) -> None:
    token = TOKENS.write(POSITION, scope=("logs", "a"))

    with pytest.raises(InputError, match="page_token"):
        TOKENS.read(token, scope=scope)


def test_token_of_another_service_is_refused() -> None:
    token = PageTokens(b"other").write(POSITION, scope=("a",))

    with pytest.raises(InputError, match="page_token"):
        TOKENS.read(token, scope=("a",))


@given(st.text(min_size=1, max_size=300))
def test_any_text_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="page_token"):
        TOKENS.read(text, scope=("a",))


def test_page_says_whether_more_follow() -> None:
    assert cut_page([1, 2, 3], size=2) == ([1, 2], True)
    assert cut_page([1, 2], size=2) == ([1, 2], False)
