"""What a service keeps in its data folder about itself."""

from pathlib import Path

from service.config import ServiceConfig
from service.data_dir import front_end_name, held_data_dir, uploads_folder
from tests.support.fake_clock import FakeClock


def test_a_front_end_keeps_its_name_over_restarts(tmp_path: Path) -> None:
    names = []
    for folder in ("a", "a", "b"):
        config = ServiceConfig(data_dir=tmp_path / folder)
        with held_data_dir(config):
            names.append(front_end_name(config, clock=FakeClock()))

    assert names[0] == names[1] != names[2]


def test_services_that_share_blobs_have_an_uploads_folder_each(tmp_path: Path) -> None:
    blobs = tmp_path / "blobs"
    config = ServiceConfig(data_dir=tmp_path / "a", blobs_dir=blobs)
    alone = ServiceConfig(data_dir=tmp_path / "b")

    with held_data_dir(config):
        folders = [uploads_folder(config, front_end=name) for name in ("A", "B")]

    assert {folder.parent for folder in folders} == {blobs}  # a rename away from the blobs
    assert folders[0] != folders[1]
    assert uploads_folder(alone, front_end="A") == tmp_path / "b" / "uploads"
