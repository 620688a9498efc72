"""The demo's request is one that a user could write."""

from pathlib import Path

import yaml

from auditor.stagelog.digest import Digest, sha256
from service.cli.request_file import resolve_request
from service.demo.request import request_text


class AnyPlaces:
    """Places that name every path by its last part."""

    def log(self, folder: Path) -> Digest:
        return sha256(folder.name.encode())

    def evaluation_set(self, path: Path) -> Digest:
        return sha256(path.name.encode())

    def model(self, path: Path) -> Digest:
        return sha256(path.name.encode())


def test_request_asks_skip_and_replace_of_every_stage(tmp_path: Path) -> None:
    for name in ("log", "heldout", "with-patch", "without-patch", "reference"):
        (tmp_path / name).mkdir()
    (tmp_path / "model.safetensors").touch()

    request = resolve_request(yaml.safe_load(request_text()), base=tmp_path, places=AnyPlaces())

    asked = [(i.kind, i.stage) for i in request.interventions]
    stages = ("pretrain", "vendor", "finetune")
    assert asked == [(kind, stage) for kind in ("skip", "replace") for stage in stages]
    assert request.queries[1].of.data == sha256(b"with-patch")
