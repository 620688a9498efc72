"""Links lead to one report, for a while, and to nothing when anything about them is changed."""

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.errors import AuthenticationError, InputError
from auditor.stagelog.digest import sha256
from service.report_links import (
    DEFAULT_SECONDS,
    LONGEST_SECONDS,
    LinkedReport,
    ReportLinks,
    link_seconds,
    load_or_create_link_key,
)

REPORT = LinkedReport(tenant="default", digest=sha256(b"report"))
LINKS = ReportLinks(b"k" * 32)
END = 1_800_000_000
LINK = LINKS.write(REPORT, expires=END)


def test_link_leads_to_its_report_until_it_ends() -> None:
    assert LINKS.read(LINK, now=END - 0.001) == REPORT
    with pytest.raises(AuthenticationError, match="a link that is over"):
        LINKS.read(LINK, now=END)


def test_link_of_another_key_is_refused() -> None:
    with pytest.raises(AuthenticationError, match="another link"):
        ReportLinks(b"j" * 32).read(LINK, now=0)


@given(place=st.integers(0, len(LINK) - 1), character=st.characters(codec="ascii"))
def test_link_with_any_character_changed_is_refused(place: int, character: str) -> None:
    changed = LINK[:place] + character + LINK[place + 1 :]

    if changed == LINK:
        assert LINKS.read(changed, now=0) == REPORT
    else:
        with pytest.raises(AuthenticationError):
            LINKS.read(changed, now=0)


@pytest.mark.parametrize(
    "change",
    [
        lambda link: link.replace("default", "other"),
        lambda link: link.replace(str(END), str(END + 1)),
        lambda link: link.replace(str(END), f"0{END}"),
        lambda link: link.partition("?")[0],
        lambda link: f"{link}&expires={END + 9}",
        lambda link: link.replace("expires", "expire"),
        lambda link: link.replace("signature=", "signature=&x="),
        lambda link: f"{link.partition('?')[0]}?expires=9&signature=",
    ],
    ids=[
        "tenant", "later", "padded", "bare", "twice", "unnamed", "unsigned", "empty",
    ],
)  # fmt: skip
def test_link_that_was_edited_is_refused(change) -> None:
    with pytest.raises(AuthenticationError):
        LINKS.read(change(LINK), now=0)


def test_refusal_does_not_repeat_the_link() -> None:
    with pytest.raises(AuthenticationError) as refused:
        LINKS.read(LINK[:-1], now=0)

    assert LINK.partition("signature=")[2][:8] not in str(refused.value)
    assert REPORT.digest[:8] not in str(refused.value)


def test_key_is_made_once_and_is_its_owners_only(tmp_path: Path) -> None:
    path = tmp_path / "links.key"

    first, second = load_or_create_link_key(path), load_or_create_link_key(path)

    assert first == second
    assert len(first) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_file_that_is_no_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "links.key"
    path.write_bytes(b"short")

    with pytest.raises(InputError, match="5 bytes"):
        load_or_create_link_key(path)


@pytest.mark.parametrize(
    ("asked", "given"), [(0, DEFAULT_SECONDS), (60, 60), (LONGEST_SECONDS, LONGEST_SECONDS)]
)
def test_time_of_a_link_is_an_hour_unless_said(asked: int, given: int) -> None:
    assert link_seconds(asked) == given


@pytest.mark.parametrize("asked", [-1, LONGEST_SECONDS + 1])
def test_time_of_a_link_has_bounds(asked: int) -> None:
    with pytest.raises(InputError, match="validity"):
        link_seconds(asked)
