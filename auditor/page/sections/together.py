"""Several stages together: joint effects beside sums, and allocations under their label."""

from dataclasses import dataclass

from auditor.page.direction import Direction, better_words
from auditor.page.facts import PageFacts
from auditor.page.figures import between_of, decimals_for, percent, signed
from auditor.page.scale import Scale, scale_of
from auditor.page.strips import Axis, Strip, axis_of, span_on
from auditor.report.finer import AllocatedValue, Allocation, JointEffect
from auditor.report.schema import Report

LISTED = 40


@dataclass(frozen=True, kw_only=True, slots=True)
class AllocationPlot:
    """Shapley values of one query as rows of an interval plot; no shares of a whole."""

    query: str
    unit: str
    label: str
    better: str
    context: str
    heading: str
    rows: tuple[Strip, ...]
    axis: Axis
    total: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Together:
    """The section."""

    joints: tuple[JointEffect, ...]
    joints_left: int
    allocations: tuple[AllocationPlot, ...]


def together_of(report: Report, _: PageFacts) -> Together | None:
    """Return joint effects and allocations; None where neither was asked for."""
    if not report.joints and not report.allocations:
        return None
    better = {query.query: str(query.better) for query in report.queries}
    return Together(
        joints=report.joints[:LISTED],
        joints_left=max(len(report.joints) - LISTED, 0),
        allocations=tuple(
            _allocation(allocation, better=better.get(allocation.query, "lower"))
            for allocation in report.allocations[:LISTED]
        ),
    )


def _allocation(allocation: Allocation, *, better: str) -> AllocationPlot:
    figures = [
        figure
        for row in allocation.values
        for figure in (row.value, row.low, row.high)
        if figure is not None
    ]
    scale = scale_of(figures)
    decimals = decimals_for([*(row.value for row in allocation.values), allocation.total])
    confidence = allocation.confidence
    return AllocationPlot(
        query=allocation.query,
        unit=allocation.unit,
        label=allocation.label,
        better=better_words(better),
        context=", ".join(allocation.context),
        heading="interval" if confidence is None else f"{percent(confidence)} interval",
        rows=tuple(_row(row, scale=scale, decimals=decimals) for row in allocation.values),
        axis=axis_of(scale, better=better),
        total=signed(allocation.total, decimals=decimals),
    )


def _row(row: AllocatedValue, *, scale: Scale, decimals: int) -> Strip:
    value = signed(row.value, decimals=decimals)
    between = between_of(row.low, row.high, decimals=decimals)
    return Strip(
        label=row.stage,
        direction=Direction.OPEN,  # a convention has no verdict
        point=scale.percent(row.value),
        interval=span_on(scale, row.low, row.high),
        order=None,
        rerun=None,
        value=value,
        between=between,
        verdict="",
        words=f"{value}, interval {between}",
    )
