"""The bar of an audit that is waited for."""

from io import StringIO

import pytest
from rich.console import Console
from rich.progress import Progress

from service.cli.audit_progress import TimeLeftColumn, audit_progress


def shown(*, seconds: float | None, bound: str = "about", later: float = 0.0) -> str:
    """Return what the column shows ``later`` seconds after the service said how long."""
    now = [100.0]
    bar = Progress(TimeLeftColumn(), console=Console(file=StringIO()), get_time=lambda: now[0])
    task = bar.add_task("", total=None, seconds_left=seconds, bound=bound, said_at=100.0)
    now[0] += later
    return TimeLeftColumn().render(bar.tasks[task]).plain


def test_time_left_runs_down_between_events() -> None:
    assert shown(seconds=240.0) == "about 4 min left"
    assert shown(seconds=240.0, later=200.0) == "about 40 s left"
    assert shown(seconds=240.0, later=900.0) == "about 0 s left"


def test_least_time_is_called_one() -> None:
    assert shown(seconds=10.0, bound="at least") == "at least 10 s left"


def test_nothing_is_said_where_nothing_is_known() -> None:
    assert not shown(seconds=None)


def test_bar_is_silent_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with audit_progress(quiet=False) as show:
        show({"done": 1, "actions": 4, "seconds_left": 3.0, "seconds_left_at_least": True})

    assert capsys.readouterr() == ("", "")
