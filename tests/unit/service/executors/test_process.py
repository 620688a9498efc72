import signal

import pytest

from service.executors.process import death_of, whole_lines
from service.scheduler.leases import Death


@pytest.mark.parametrize(
    ("code", "oom_kills", "death"),
    [
        (0, 0, Death.EXIT),
        (70, 0, Death.EXIT),
        (-signal.SIGKILL, 0, Death.KILLED),
        (-signal.SIGKILL, 1, Death.FAULT),
        (-signal.SIGTERM, 1, Death.KILLED),
        (-signal.SIGABRT, 0, Death.FAULT),
        (-signal.SIGBUS, 0, Death.FAULT),
    ],
)
def test_death_of_tells_faults_from_killings(code: int, oom_kills: int, death: Death) -> None:
    assert death_of(code, oom_kills_meanwhile=oom_kills) is death


def test_lines_are_put_together_and_half_a_line_is_dropped() -> None:
    chunks = [b"o", b"ne\ntwo\nth", b"", b"ree\n", b"half"]

    assert list(whole_lines(chunks)) == [b"one", b"two", b"three"]
