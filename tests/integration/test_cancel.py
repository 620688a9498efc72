"""Cancelling an audit that is on a device."""

from pathlib import Path

from tests.support.builders import make_stage_log
from tests.support.fake_engine import ENDLESS
from tests.support.job_service import make_request, push_run
from tests.support.served import served


def test_cancel_stops_the_group_on_the_device_and_frees_it(tmp_path: Path) -> None:
    run = make_stage_log(folder=tmp_path / "log")
    with served(tmp_path / "data", engine=ENDLESS) as service, service.client() as client:
        push_run(client, run, tmp_path / "log")
        first = client.create_audit(make_request(run))
        events = client.watch_audit(first)
        while next(events)["kind"] != "progress":  # it is on the device
            pass

        client.cancel(first)
        rest = [event["kind"] for event in events]
        second = client.create_audit(make_request(run))
        again = client.watch_audit(second)
        kinds = [next(again)["kind"]]
        while kinds[-1] != "progress":  # the device is free again
            kinds.append(next(again)["kind"])
        client.cancel(second)
        client.cancel(second)

        assert rest[-1] == "cancelled"
        assert client.get_audit(first)["state"] == "cancelled"
        assert client.wait(second)["state"] == "cancelled"
        assert client.list_reports() == []
        assert service.metric('stageaudit_worker_restarts_total{device="cpu",reason="exit"}') == 0


def test_cancel_of_one_audit_leaves_what_another_wants(tmp_path: Path) -> None:
    run = make_stage_log(folder=tmp_path / "log")
    with served(tmp_path / "data", engine=ENDLESS) as service, service.client() as client:
        push_run(client, run, tmp_path / "log")
        first = client.create_audit(make_request(run, name="first"))
        second = client.create_audit(make_request(run, name="second"))
        events = client.watch_audit(second)
        while next(events)["kind"] != "progress":
            pass

        client.cancel(first)

        audit = client.get_audit(second)
        assert audit["state"] == "running"
        assert audit["progress"]["running"] >= 1
        client.cancel(second)
