"""Every ResultIndex remembers results, replaces them and knows what it does not know."""

import pytest

from auditor.edge.result_index import FolderIndex
from auditor.plan.actions import ActionKey
from auditor.stagelog.digest import Digest
from tests.support.memory_index import MemoryIndex

KEY = ActionKey("1" * 64)
ONE, OTHER = Digest("a" * 64), Digest("b" * 64)


@pytest.fixture(params=["folder", "memory"])
def index(request, tmp_path):
    return FolderIndex(tmp_path) if request.param == "folder" else MemoryIndex()


def test_get_returns_none_for_unknown_keys(index):
    assert index.get(KEY) is None


def test_get_returns_what_was_put_last(index):
    index.put(KEY, ONE)
    index.put(KEY, OTHER)

    assert index.get(KEY) == OTHER


def test_folder_index_is_shared_by_its_folder(tmp_path):
    FolderIndex(tmp_path).put(KEY, ONE)

    assert FolderIndex(tmp_path).get(KEY) == ONE


def test_folder_index_treats_a_damaged_entry_as_none(tmp_path):
    FolderIndex(tmp_path).put(KEY, ONE)
    path = tmp_path / "11" / KEY
    path.chmod(0o640)
    path.write_bytes(b"\xff\xfe")

    assert FolderIndex(tmp_path).get(KEY) is None


def test_record_of_the_group_is_kept_beside_the_result(index):
    index.put(KEY, ONE, execution=OTHER)

    assert (index.get(KEY), index.execution(KEY)) == (ONE, OTHER)


def test_entry_of_an_earlier_version_has_no_record(index):
    index.put(KEY, ONE)

    assert (index.get(KEY), index.execution(KEY)) == (ONE, None)
