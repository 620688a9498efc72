"""The folder of saved states: read, damaged, swept."""

from pathlib import Path

from auditor.stagelog.digest import sha256
from service.saved_states import SAVED_FOLDER, UNFINISHED_SWEEPS, SavedStates


def files(data_dir: Path) -> list[Path]:
    return [path for path in (data_dir / SAVED_FOLDER).rglob("*") if path.is_file()]


def test_what_was_written_is_read_and_nothing_else(tmp_path: Path) -> None:
    states = SavedStates(tmp_path)

    digest = states.write(b"state")

    assert states.read(digest) == b"state"
    assert states.read(sha256(b"another")) is None


def test_a_damaged_state_is_removed_and_can_be_written_again(tmp_path: Path) -> None:
    states = SavedStates(tmp_path)
    digest = states.write(b"state")
    (path,) = files(tmp_path)
    path.chmod(0o640)
    path.write_bytes(b"other")

    damaged = states.read(digest)

    assert damaged is None
    assert states.read(states.write(b"state")) == b"state"


def test_a_sweep_removes_what_two_in_a_row_did_not_want(tmp_path: Path) -> None:
    states = SavedStates(tmp_path)
    kept, _, back = (states.write(name) for name in (b"kept", b"gone", b"back"))

    first = states.sweep({kept})
    new = states.write(b"new, and not told of yet")
    second = states.sweep({kept, back})
    third = states.sweep({kept, new})

    assert (first, second, third) == (0, 1, 0)
    assert {path.name for path in files(tmp_path)} == {kept, back, new}


def test_a_state_that_is_being_written_is_left_alone_until_its_worker_must_be_dead(
    tmp_path: Path,
) -> None:
    states = SavedStates(tmp_path)
    digest = states.write(b"state")
    half = tmp_path / SAVED_FOLDER / "sha256" / digest[:2] / f".{digest}.0123abcd"
    half.write_bytes(b"half")

    removed = [states.sweep({digest}) for _ in range(UNFINISHED_SWEEPS)]

    assert removed == [0] * (UNFINISHED_SWEEPS - 1) + [1]
    assert not half.exists()


def test_a_folder_that_is_not_there_has_nothing_to_sweep(tmp_path: Path) -> None:
    assert SavedStates(tmp_path).sweep(()) == 0
