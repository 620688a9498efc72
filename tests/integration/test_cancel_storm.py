"""Half of many audits are cancelled at random moments: the others never notice.

``--storm-audits 200`` is more than a test should take; the real library computes.
"""

import random
import threading
from pathlib import Path

import pytest

from service.config import Limits
from service.records.base import DEFAULT_TENANT
from service.scheduler.states import AuditState
from tests.integration.test_chaos import RTOL, SEED, figures, make_submissions, undisturbed
from tests.support.builders import make_stage_log
from tests.support.job_service import job_service, make_ask

LONGEST_SECONDS = 0.2
"""Random moments lie within this time of one another."""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_storm_of_cancellations_leaves_the_others_untouched(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    count = int(pytestconfig.getoption("--storm-audits"))
    run = make_stage_log(folder=tmp_path / "log")
    submissions = make_submissions(run, audits=count)
    rng = random.Random(SEED)  # noqa: S311 - moments, no secrets
    unwanted = set(rng.sample(range(count), count // 2))
    never = threading.Event()

    with job_service(tmp_path / "data", limits=Limits(live_audits=count)) as service:
        service.adopt(run)
        names: dict[int, str] = {}

        def cancel_some() -> None:
            """Cancel what exists of the unwanted, in another order, until all of it is."""
            left = set(unwanted)
            while left:
                assert not never.wait(rng.uniform(0, LONGEST_SECONDS))
                there = sorted(left & set(names))
                for i in there[: rng.randint(0, len(there))]:
                    service.jobs.stored.cancel(DEFAULT_TENANT, names[i])
                    left.discard(i)

        cancelling = threading.Thread(target=cancel_some)
        cancelling.start()
        for i, submission in enumerate(submissions):
            names[i] = service.jobs.submission.create(make_ask(submission.request)).id
        cancelling.join()
        rows = {i: service.wait(name) for i, name in names.items()}
        found = {
            i: figures(service.bundle(row))
            for i, row in rows.items()
            if row.state is AuditState.SUCCEEDED
        }

    states = {i: row.state for i, row in rows.items()}
    assert all(states[i] is AuditState.SUCCEEDED for i in set(names) - unwanted)
    ended = {states[i] for i in unwanted}
    assert ended <= {AuditState.CANCELLED, AuditState.SUCCEEDED}  # some were over already
    assert AuditState.CANCELLED in ended
    kept = sorted(set(names) - unwanted)[:: max(1, count // 20)]
    expected = undisturbed(run, [submissions[i] for i in kept], tmp_path / "undisturbed")
    for i, figures_alone in zip(kept, expected, strict=True):
        assert found[i] == pytest.approx(figures_alone, rel=RTOL, abs=1e-12)
