"""Folders: where files lie, how they are protected, and manifests."""

from pathlib import Path

import pytest

from auditor.edge.folder import LOG_FILE, FolderBlobs, read_log, write_durably, write_log
from auditor.errors import ArtifactMissingError, InputError, StageLogError, UnavailableError
from auditor.stagelog.digest import canonical_bytes, sha256
from tests.support.manifests import make_log


def test_blob_lies_under_the_first_two_characters_of_its_digest(tmp_path: Path) -> None:
    digest = FolderBlobs(tmp_path).write(b"data")

    assert (tmp_path / "sha256" / digest[:2] / digest).read_bytes() == b"data"


def test_blob_is_read_only_on_disk(tmp_path: Path) -> None:
    store = FolderBlobs(tmp_path)

    path = store.path(store.write(b"data"))

    assert path.stat().st_mode & 0o777 == 0o440


def test_writing_leaves_no_temporary_files(tmp_path: Path) -> None:
    store = FolderBlobs(tmp_path)
    store.write(b"data")

    assert [p.name for p in tmp_path.rglob("*") if p.name.startswith(".")] == []


def test_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    store = FolderBlobs(tmp_path / "store")
    digest = store.write(b"data")
    (tmp_path / "elsewhere").write_bytes(b"data")
    store.path(digest).unlink()
    store.path(digest).symlink_to(tmp_path / "elsewhere")

    with pytest.raises(ArtifactMissingError):
        store.read(digest)


def test_digests_lists_blobs_and_nothing_else(tmp_path: Path) -> None:
    store = FolderBlobs(tmp_path)
    written = sorted(store.write(data) for data in (b"1", b"2", b"3"))
    (tmp_path / "sha256" / "README").write_text("no blob")

    assert list(store.digests()) == written


def test_path_that_is_a_file_gives_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(UnavailableError, match="a writable folder"):
        FolderBlobs(tmp_path / "file").write(b"data")


def test_write_durably_replaces_the_whole_file(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file"
    write_durably(target, b"a long first version", mode=0o644)

    write_durably(target, b"second", mode=0o644)

    assert target.read_bytes() == b"second"


def test_log_read_is_the_log_written(tmp_path: Path) -> None:
    log = make_log()

    digest = write_log(tmp_path, log)
    read, identity, _ = read_log(tmp_path)

    assert read == log
    assert identity == digest == sha256((tmp_path / LOG_FILE).read_bytes())


def test_reformatted_manifest_is_refused(tmp_path: Path) -> None:
    write_log(tmp_path, make_log())
    path = tmp_path / LOG_FILE
    path.write_bytes(path.read_bytes() + b"\n")

    with pytest.raises(InputError, match="canonical JSON"):
        read_log(tmp_path)


def test_manifest_with_defaults_spelled_out_is_refused(tmp_path: Path) -> None:
    text = canonical_bytes(make_log()).decode()
    assert '"minor":0' in text

    (tmp_path / LOG_FILE).write_text(text.replace('"minor":0,', ""))

    with pytest.raises(InputError, match="canonical JSON"):
        read_log(tmp_path)


def test_folder_without_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactMissingError, match=LOG_FILE):
        read_log(tmp_path)


def test_manifest_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / LOG_FILE).write_bytes(b"\xff\xfe")

    with pytest.raises(StageLogError):
        read_log(tmp_path)
