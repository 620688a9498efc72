"""The token file: who may come in, for whom, and with which weight."""

from pathlib import Path

import pytest

from auditor.errors import InputError
from service.token_file import TokenEntry, load_or_create_tokens, parse_tokens, weights_of

OWN = "sa_" + "x" * 16
OTHER = "sa_" + "y" * 16


def test_token_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "token"

    (first,) = load_or_create_tokens(path)

    assert load_or_create_tokens(path) == (first,)
    assert path.stat().st_mode & 0o777 == 0o600
    assert (first.tenant, first.weight) == ("default", 1.0)
    assert len(first.token) > 40


def test_a_line_names_a_tenant_and_its_weight() -> None:
    entries = parse_tokens(f"{OWN}\n\n# others\n{OTHER} team-b 2.5\n", where="token")

    assert entries == (TokenEntry(token=OWN), TokenEntry(token=OTHER, tenant="team-b", weight=2.5))
    assert weights_of(entries) == {"default": 1.0, "team-b": 2.5}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# nothing\n", "at least one token"),
        ("short", "token:1: expected a token of at least 16"),
        (f"{OWN}\n{OTHER} Team", "token:2: expected a tenant"),
        (f"{OWN} a 0", "a weight above 0"),
        (f"{OWN} a nan", "a weight above 0"),
        (f"{OWN} a much", "a weight above 0"),
        (f"{OWN} a 1 b", "4 words"),
        (f"{OWN} a\n{OWN} b", "every token once"),
        (f"{OWN} a 1\n{OTHER} a 2", "one weight for tenant a"),
    ],
)
def test_other_lines_are_refused_without_repeating_a_token(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        parse_tokens(text, where="token")

    assert OWN not in str(caught.value)
