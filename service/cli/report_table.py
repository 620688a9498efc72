"""A report for people: effects with intervals, what disagrees, what the figures do not say."""

from collections.abc import Mapping, Sequence
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from auditor.effects import Better, Effect, Verdict
from auditor.report.labels import LABEL_DIGITS, data_names, named
from auditor.report.schema import Choice, Extremes, QueryValue, Report
from service.cli.finer_tables import print_finer

NOISE_FIELDS: Final = ("sd_order", "sd_rerun")


def print_report(report: Report, *, console: Console) -> None:
    """Print a report; its own words are kept wherever it has some."""
    _print_head(report, console)
    for query in report.queries:
        rows = [effect for effect in report.effects if effect.query == query.query]
        console.print()
        console.print(effects_table(query, rows, names=data_names(report)))
        found = [extremes for extremes in report.extremes if extremes.query == query.query]
        if found:
            console.print(extremes_table(found, names=data_names(report)))
    print_finer(report, console=console)
    if report.estimator.choices:
        console.print()
        console.print(choices_table(report.estimator.choices, names=data_names(report)))
    _print_notes(report, console)


def effects_table(
    query: QueryValue, effects: Sequence[Effect], *, names: Mapping[str, str]
) -> Table:
    """Return the effects of all interventions on one query.

    Args:
        query: The query and its value at the model itself.
        effects: Its effects.
        names: Names of evaluation sets by the beginning of their digests.
    """
    direction = "lower is better" if query.better == Better.LOWER else "higher is better"
    table = Table(
        title=f"{escape(query.query)} = {query.value:.4g} {query.unit} on {query.n} examples "
        f"({direction})",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("intervention", overflow="fold")
    table.add_column("effect", justify="right", no_wrap=True)
    table.add_column(interval_heading(effects), justify="right", no_wrap=True)
    table.add_column("verdict")
    table.add_column("spread", justify="right", no_wrap=True)
    table.add_column("self-check", justify="right", no_wrap=True)
    measured = [
        field for field in NOISE_FIELDS if any(getattr(e, field) is not None for e in effects)
    ]
    for name in measured:
        table.add_column(name.replace("_", "\n"), justify="right", no_wrap=True)
    baselines = sorted({name for effect in effects for name in effect.baselines})
    for name in baselines:
        table.add_column(name.replace("_", "\n"), justify="right", no_wrap=True)
    for effect in effects:
        table.add_row(
            escape(label(effect, names)),
            signed(effect.value),
            interval(effect),
            verdict(effect),
            figure(effect.spread),
            signed(None if effect.self_check is None else effect.self_check.deviation),
            *(figure(getattr(effect, name)) for name in measured),
            *(signed(effect.baselines.get(name)) for name in baselines),
        )
    return table


def extremes_table(found: Sequence[Extremes], *, names: Mapping[str, str]) -> Table:
    """Return the examples that each intervention raised and lowered most, by id."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("intervention", "raised most (id effect)", "lowered most (id effect)"):
        table.add_column(heading, overflow="fold")
    for extremes in found:
        table.add_row(
            escape(named(extremes.intervention, names)),
            *(
                escape(", ".join(f"{one.id} {one.effect:+.3g}" for one in side)) or "–"
                for side in (extremes.raised, extremes.lowered)
            ),
        )
    return table


def choices_table(choices: Sequence[Choice], *, names: Mapping[str, str]) -> Table:
    """Return what ``auto`` answered each intervention with, and whether that was enough."""
    table = Table(title="Chosen by auto", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("intervention", overflow="fold")
    table.add_column("answered by")
    table.add_column(f"within tolerance {choices[0].tolerance:.3g}")
    for choice in choices:
        table.add_row(
            escape(named(choice.intervention, names)),
            escape(choice.answered_by),
            "yes" if choice.within_tolerance else "no",
        )
    return table


def label(effect: Effect, names: Mapping[str, str]) -> str:
    """Return an intervention's label with the reference's name in place of its digest."""
    return named(effect.intervention, names)


def interval_heading(effects: Sequence[Effect]) -> str:
    """Return the heading of the interval column, with the confidence if rows have one."""
    confidence = next((e.confidence for e in effects if e.confidence is not None), None)
    return "interval" if confidence is None else f"{confidence:.0%} interval"


def interval(effect: Effect) -> str:
    """Return an effect's interval as text."""
    if effect.low is None or effect.high is None:
        return "–"
    if effect.exact_by_construction:
        return "exact"
    return f"{effect.low:+.4f} to {effect.high:+.4f}"


def verdict(effect: Effect) -> str:
    """Return the verdict and, where there is an effect, what the stage did to the model."""
    if effect.verdict is not Verdict.EFFECT or effect.value is None:
        return str(effect.verdict)
    raised_is_worse = effect.better is Better.LOWER
    worse = (effect.value > 0) == raised_is_worse
    return "effect: worse" if worse else "effect: better"


def figure(value: float | None) -> str:
    """Return a size as text; what was not computed is a dash, never a zero."""
    return "–" if value is None else f"{value:.4f}"


def signed(value: float | None) -> str:
    """Return a difference as text with its sign."""
    return "–" if value is None else f"{value:+.4f}"


def _print_head(report: Report, console: Console) -> None:
    log = report.log
    stages = ", ".join(log.stages)
    console.print(
        f"Run {log.name}: {len(log.stages)} stages ({stages}), log level {log.level}",
        style="bold",
        markup=False,
    )
    console.print(f"log        {log.digest}", markup=False)
    bound = "bound to the log" if report.model.bound else "not bound to a file"
    if report.model.derivation is not None:
        bound += f": {report.model.derivation}"
    if report.model.deviation is not None:
        bound += f", within {report.model.deviation:.1e}"
    console.print(
        f"model      {report.model.digest} ({report.model.source}, {bound})", markup=False
    )
    console.print(f"estimator  {settings_text(report)}", markup=False)
    for tool in report.tools:
        files = ", ".join(f"{file.name} {file.digest[:LABEL_DIGITS]}" for file in tool.files)
        version = "" if tool.version is None else f" {tool.version}"
        console.print(f"tool       {tool.name}{version} ({files})", markup=False)
    console.print(f"log check  {log.consistency_statement}", markup=False)


def settings_text(report: Report) -> str:
    """Return the estimator with its settings on one line."""
    settings = report.estimator.settings.model_dump(exclude={"id"})
    inside = ", ".join(f"{name} {value}" for name, value in settings.items())
    text = report.estimator.id if not inside else f"{report.estimator.id} ({inside})"
    resolved = report.estimator.resolved_from
    return text if resolved == report.estimator.id else f"{text}, from {resolved}"


def _print_notes(report: Report, console: Console) -> None:
    console.print()
    console.print(
        "Effect = with the stage minus without it: positive means that the stage raised the query; "
        "worse or better is what it did to the model.",
        style="dim",
    )
    if report.disagreements:
        console.print()
        console.print("Where interventions disagree", style="bold")
        for found in report.disagreements:
            console.print(f"- {found.query}, stage {found.stage}: {found.text}", markup=False)
    if report.diagnoses:
        console.print()
        console.print("Diagnoses", style="bold")
        for diagnosis in report.diagnoses:
            console.print(f"- {diagnosis.text}", markup=False)
    if report.multiplicity is not None:
        many = report.multiplicity
        console.print()
        console.print(
            f"{many.discovered} of {many.tested} effects are discoveries at a false discovery rate "
            f"of {many.q:.0%} (Benjamini-Hochberg).",
            markup=False,
        )
    if report.not_computed:
        console.print()
        console.print("Not computed", style="bold")
        for absent in report.not_computed:
            console.print(f"- {absent.what}: {absent.why}", markup=False)
    console.print()
    console.print("Limitations", style="bold")
    for limitation in report.limitations:
        console.print(f"- {limitation.text}", markup=False)
    relative = report.cost.examples_relative
    cost = f"{report.cost.gradient_examples} gradient-examples"
    if relative is not None:
        cost += f", {relative:.2f} × exact retraining of the same interventions"
    if report.cost.noise_relative is not None:
        cost += f", and {report.cost.noise_relative:.2f} × for the noise"
    console.print()
    console.print(f"Cost: {cost}", style="dim", markup=False)
