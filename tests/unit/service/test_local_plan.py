"""What a local audit says that it will need is what its groups will be held to."""

from pathlib import Path

import pytest

from auditor.edge.folder import BLOBS_FOLDER, FolderBlobs
from auditor.edge.layered import LayeredBlobs
from auditor.errors import ResourceError
from auditor.stagelog.digest import canonical_bytes
from service.cli.local_plan import local_plan
from tests.support.builders import make_stage_log
from tests.support.job_service import make_request


def test_a_group_is_forecast_as_the_budget_lets_it_be(tmp_path: Path) -> None:
    run = make_stage_log(stages=4, folder=tmp_path / "log")
    blobs = LayeredBlobs(FolderBlobs(tmp_path / "cache"))
    blobs.add(FolderBlobs(tmp_path / "log" / BLOBS_FOLDER))
    blobs.write(canonical_bytes(run.log))

    def memory(budget: int | None) -> dict[str, int]:
        plan = local_plan(make_request(run), blobs=blobs, cache=tmp_path / "cache", budget=budget)
        found: dict[str, int] = plan["memory"]
        return found

    free = memory(None)
    bounded = memory(free["group_bytes"])

    assert free["group_lanes"] > 1
    assert bounded["group_lanes"] < free["group_lanes"]
    assert bounded["group_bytes"] < bounded["budget_bytes"] == free["group_bytes"]
    assert bounded["lane_bytes"] == free["lane_bytes"]
    with pytest.raises(ResourceError):
        memory(free["lane_bytes"] - 1)
