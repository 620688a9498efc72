"""The bar of an audit that is waited for: actions, what runs, and how long it will still take."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
)
from rich.text import Text
from typing_extensions import override

from service.cli.output import notices
from service.cli.time_words import bound_of, time_left

Show = Callable[[Mapping[str, Any]], None]
"""Takes an audit's progress, as the client yields it."""


class TimeLeftColumn(ProgressColumn):
    """The time left that the service estimated, run down by the clock since then."""

    @override
    def render(self, task: Task) -> Text:
        """Return nothing while nobody knows."""
        seconds = task.fields.get("seconds_left")
        if seconds is None:
            return Text("")
        left = max(0.0, seconds - (task.get_time() - task.fields["said_at"]))
        return Text(time_left(left, bound=task.fields["bound"]), style="progress.remaining")


@contextmanager
def audit_progress(*, quiet: bool) -> Iterator[Show]:
    """Show an audit's progress on stderr.

    Args:
        quiet: Show nothing, as with ``--json``; without a terminal nothing is shown either.

    Yields:
        A function that takes the progress of an event.
    """
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("actions"),
        TimeLeftColumn(),
        console=notices,
        disable=quiet or not notices.is_terminal,
        transient=True,
    )
    with bar:
        task = bar.add_task("auditing", total=None)

        def show(progress: Mapping[str, Any]) -> None:
            bar.update(
                task,
                completed=progress["done"],
                total=progress["actions"],
                seconds_left=progress.get("seconds_left"),
                bound=bound_of(progress),
                said_at=bar.get_time(),
            )

        yield show
