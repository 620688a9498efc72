"""Text of others in messages: nothing in it is obeyed, and it has an end."""

from auditor.errors import VALUE_LIMIT, InputError, printable


def test_what_a_terminal_would_obey_is_replaced() -> None:
    assert printable("a\x1b[2Jb\nc\u202ed é") == "a\ufffd[2Jb\ufffdc\ufffdd é"


def test_what_was_found_is_printable_and_cut() -> None:
    error = InputError("x", expected="y", found="\x1b" + 2 * VALUE_LIMIT * "z", remedy="Mend it.")

    assert error.found.startswith("\ufffdz")
    assert len(error.found) == VALUE_LIMIT
