"""Long trajectories go on from where they were saved, after a kill and after a drain."""

import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from auditor.attest.bundle import parse_bundle
from auditor.attest.statement import Statement
from auditor.effects import Better, Query, QueryKind
from auditor.estimators.retrain import RetrainSettings
from auditor.plan.request import AuditRequest, Intervention
from auditor.report.schema import Report
from service.records.jobs import AuditRow
from service.scheduler.states import AuditState
from tests.support.builders import RecordedRun, make_stage_log
from tests.support.held_engine import HELD, HELD_STEPS, hold
from tests.support.job_service import JobService, job_service, make_ask
from tests.support.server_process import kill_process

ALPHAS = (0.2, 0.5, 0.8)
LANES = len(ALPHAS)
NEVER = 1e6
PATIENCE_SECONDS = 60
TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-5}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A run whose stages are two blocks long, and its audit where nothing is interrupted."""

    run: RecordedRun
    expected: Report
    rtol: float


def make_case(folder: Path, dtype: torch.dtype = torch.float64) -> Case:
    run = make_stage_log(stages=2, steps=60, optimizer="adamw", dtype=dtype, folder=folder / "log")
    with job_service(folder / "undisturbed") as service:
        service.adopt(run)
        row = finish(service, service.jobs.submission.create(make_ask(make_fades(run))).id)
        return Case(run=run, expected=report_of(service, row), rtol=TOLERANCES[dtype])


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("case"))


def make_fades(run: RecordedRun) -> AuditRequest:
    """Return an audit whose trajectories pass the first stage in one group."""
    query = Query(name="loss", kind=QueryKind.LOSS, better=Better.LOWER, data=run.evaluation)
    return AuditRequest(
        log=run.digest,
        interventions=tuple(Intervention(kind="fade", stage="stage0", alpha=a) for a in ALPHAS),
        queries=(query,),
        estimator=RetrainSettings(),
        consistency="skip",
    )


def report_of(service: JobService, row: AuditRow) -> Report:
    return Statement.model_validate_json(parse_bundle(service.bundle(row)).payload).predicate


def finish(service: JobService, audit: str) -> AuditRow:
    row = service.wait(audit)
    assert row.state is AuditState.SUCCEEDED
    return row


def metric(service: JobService, name: str, **labels: str) -> float:
    registry = service.host.metrics.registry
    return registry.get_sample_value(f"stageaudit_{name}_total", labels) or 0.0


def wait_for_saves(service: JobService, count: int) -> None:
    """Wait until so many states are stored and in the records."""
    deadline, never = time.monotonic() + PATIENCE_SECONDS, threading.Event()
    while metric(service, "states_saved") < count:
        assert time.monotonic() < deadline, f"{metric(service, 'states_saved')} states saved"
        never.wait(0.02)


def wait_until_held(service: JobService, audit: str) -> None:
    """Wait until a group of the audit stands still inside its stage."""
    news = threading.Event()
    with service.jobs.notices.listen(audit, news.set):
        while (step := service.jobs.notices.step(audit)) is None or step.done < HELD_STEPS * LANES:
            news.clear()
            assert news.wait(PATIENCE_SECONDS)


def require_same(found: Report, case: Case) -> None:
    values = [effect.known_value for effect in found.effects]
    truth = [effect.known_value for effect in case.expected.effects]
    assert values == pytest.approx(truth, rel=case.rtol, abs=1e-14)
    assert len(set(values)) == LANES
    assert found.cost.gradient_examples == case.expected.cost.gradient_examples


def killed(data_dir: Path, case: Case) -> tuple[Report, float]:
    """Return the report of an audit whose worker was killed in a stage, and the steps spared."""
    held = hold(data_dir)
    with job_service(data_dir, engine=HELD, save_seconds=0) as service:
        service.adopt(case.run)
        audit = service.jobs.submission.create(make_ask(make_fades(case.run))).id
        wait_for_saves(service, LANES)
        assert [kill_process(pid) for pid in service.jobs.worker_process_ids()] == [True]
        held.unlink()
        found = report_of(service, finish(service, audit))
        return found, metric(service, "steps_resumed")


def test_a_killed_worker_costs_the_steps_since_its_last_save(tmp_path: Path, case: Case) -> None:
    found, resumed = killed(tmp_path, case)

    assert resumed == LANES * HELD_STEPS
    require_same(found, case)


@pytest.mark.slow
def test_float32_trajectories_go_on_to_the_same_figures(tmp_path: Path) -> None:
    case = make_case(tmp_path, torch.float32)

    found, resumed = killed(tmp_path / "data", case)

    assert resumed == LANES * HELD_STEPS
    require_same(found, case)


def drained(data_dir: Path, run: RecordedRun) -> str:
    """Return an audit whose service was drained inside its first stage."""
    held = hold(data_dir)
    with job_service(data_dir, engine=HELD, save_seconds=NEVER) as service:
        service.adopt(run)
        audit = service.jobs.submission.create(make_ask(make_fades(run))).id
        wait_until_held(service, audit)
        assert service.jobs.drain(grace_seconds=PATIENCE_SECONDS)
        assert metric(service, "states_saved") == LANES
    held.unlink()
    return audit


def test_a_drained_service_goes_on_but_for_what_is_lost_or_damaged(
    tmp_path: Path, case: Case
) -> None:
    audit = drained(tmp_path, case.run)
    gone, damaged, _ = [path for path in (tmp_path / "saved").rglob("*") if path.is_file()]
    gone.unlink()
    damaged.chmod(0o640)
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\x00")

    with job_service(tmp_path) as service:
        found = report_of(service, finish(service, audit))
        resumed = metric(service, "steps_resumed")

    assert resumed == HELD_STEPS  # of the lane whose state is sound
    require_same(found, case)


def test_an_audit_joins_trajectories_that_another_one_has_under_way(
    tmp_path: Path, case: Case
) -> None:
    held = hold(tmp_path)

    with job_service(tmp_path, engine=HELD) as service:
        service.adopt(case.run)
        request = make_ask(make_fades(case.run))
        first = service.jobs.submission.create(request).id
        wait_until_held(service, first)
        second = service.jobs.submission.create(request).id
        held.unlink()
        rows = [finish(service, audit) for audit in (first, second)]
        asked = [
            metric(service, "action_cache_lookups", kind="advance", result=result)
            for result in ("miss", "joined", "hit")
        ]
        computed = metric(service, "actions_finished", kind="advance", outcome="done")

    assert rows[0].id != rows[1].id
    assert asked == [computed, computed, 0]
