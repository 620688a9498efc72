"""When the cue was learned: AA-Score of every step, from one backward sweep for each side."""

from dataclasses import dataclass

from auditor.dynamics.adjoint import sweep
from auditor.dynamics.evaluate import mean_query_gradient
from auditor.dynamics.run import Run
from auditor.effects import Probe

WINDOWS = 24
"""Into how many windows the run's steps are merged, about."""
BAR = 30


@dataclass(frozen=True, kw_only=True)
class Window:
    """Consecutive steps of one stage and the derivative of the query by their common gate."""

    stage: str
    first_step: int
    end_step: int
    effect: float


def timeline(run: Run, probe: Probe) -> tuple[Window, ...]:
    """Return the effect of each window of steps on a probe's mean, to first order.

    A window's effect is the derivative of the query by a factor on the window's updates (the
    paper's AA-Score); the windows of a stage add up to the stage's score.
    """
    control = probe.of.model_copy(update={"data": probe.control})
    treated, untreated = (
        sweep(
            run,
            mean_query_gradient(run, query),
            curvature="exact",
            on_block=lambda _done, _total: None,
        )
        for query in (probe.of, control)
    )
    effects = (treated - untreated).tolist()
    first = run.log.stages[0].first_step
    size = max(1, -(-len(effects) // WINDOWS))
    return tuple(
        Window(
            stage=stage.name,
            first_step=begin,
            end_step=min(begin + size, stage.end_step),
            effect=sum(effects[begin - first : min(begin + size, stage.end_step) - first]),
        )
        for stage in run.log.stages
        for begin in range(stage.first_step, stage.end_step, size)
    )


def drawn(windows: tuple[Window, ...]) -> list[str]:
    """Return the timeline as lines of text with bars to the left and to the right of zero."""
    scale = max(abs(window.effect) for window in windows) or 1.0
    lines = []
    for window in windows:
        length = round(BAR * abs(window.effect) / scale)
        left = ("█" * length).rjust(BAR) if window.effect < 0 else " " * BAR
        right = "█" * length if window.effect >= 0 else ""
        steps = f"{window.first_step}-{window.end_step}"
        lines.append(
            f"  {window.stage:<11}{steps:>9} {window.effect:+8.3f} {left}|{right}".rstrip()
        )
    return lines
