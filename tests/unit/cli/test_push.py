"""What lies at a path."""

from pathlib import Path

import pytest

from auditor.errors import InputError
from service.cli.push import kind_of


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("log/stagelog.json", "log"),
        ("set/evalset.json", "evaluation set"),
        ("set.npz", "evaluation set"),
        ("model.safetensors", "model"),
        ("model.onnx", "model"),
    ],
)
def test_kind_of_knows_what_can_be_pushed(name: str, kind: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.touch()

    assert kind_of(file.parent if file.suffix == ".json" else file) == kind


def test_kind_of_refuses_anything_else(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"stagelog\.json"):
        kind_of(tmp_path)
