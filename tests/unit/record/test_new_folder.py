"""A folder is there in full or not at all."""

from pathlib import Path

import pytest

from auditor.errors import ConflictError, UnavailableError
from auditor.record.new_folder import new_folder


def test_the_folder_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "set"

    with new_folder(target) as folder:
        (folder / "file").write_text("x")
        assert not target.exists()

    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["set"]
    assert (target / "file").read_text() == "x"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_is_left_of_a_block_that_fails(tmp_path: Path, error: type[BaseException]) -> None:
    def write() -> None:
        with new_folder(tmp_path / "set") as folder:
            (folder / "file").write_text("x")
            raise error

    with pytest.raises(error):
        write()

    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_taken_and_a_full_one_or_a_file_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")

    with new_folder(tmp_path / "empty") as folder:
        (folder / "file").write_text("x")

    for name in ("empty", "file"):
        with pytest.raises(ConflictError, match=name), new_folder(tmp_path / name):
            pass


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")

    with pytest.raises(UnavailableError, match="set"), new_folder(tmp_path / "file" / "set"):
        pass
