"""Where the figures come from: digests, estimator and settings, data, cost, software, people."""

from dataclasses import dataclass

from auditor.page.facts import PageFacts, assurance_words
from auditor.page.figures import plain
from auditor.report.labels import data_names, named
from auditor.report.schema import Choice, Report

CHOICES_LISTED = 100

Fact = tuple[str, str]
"""A name and what is to say."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChoiceRow:
    """What ``auto`` answered an intervention with."""

    label: str
    answered_by: str
    within: str
    tolerance: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """The section."""

    log: tuple[Fact, ...]
    consistency: str
    method: tuple[Fact, ...]
    choices: tuple[ChoiceRow, ...]
    choices_left: int
    data: tuple[tuple[str, str, str], ...]
    run: tuple[Fact, ...]


def provenance_of(report: Report, facts: PageFacts) -> Provenance:
    """Return what the figures rest on."""
    choices = report.estimator.choices
    return Provenance(
        log=tuple(_log(report, facts)),
        consistency=report.log.consistency_statement,
        method=tuple(_method(report)),
        choices=tuple(_choice(one, data_names(report)) for one in choices[:CHOICES_LISTED]),
        choices_left=max(len(choices) - CHOICES_LISTED, 0),
        data=tuple((d.name, f"{d.examples:,}", d.digest) for d in report.evaluation_data),
        run=tuple(_run(report, facts)),
    )


def _log(report: Report, facts: PageFacts) -> list[Fact]:
    log, model = report.log, report.model
    bound = "bound to the log" if model.bound else "not bound to a file"
    bound += "" if model.derivation is None else f": {model.derivation}"
    bound += "" if model.deviation is None else f", within {plain(model.deviation)}"
    keys = {key for effect in report.effects for key in effect.action_keys}
    found = [
        ("Report", facts.report_id),
        ("Request", report.request),
        ("Policy", report.policy_digest),
        ("Log", log.digest),
        ("Stages", f"{', '.join(log.stages)} (level {log.level})"),
        ("Model", model.digest),
        ("", f"{model.source}, {bound}"),
        ("Effects by example", None if report.examples is None else report.examples.digest),
        ("Actions", f"{len(keys):,} content-addressed computations, named in the report"),
    ]
    return [(name, text) for name, text in found if text is not None]


def _method(report: Report) -> list[Fact]:
    estimator, cost = report.estimator, report.cost
    settings = estimator.settings.model_dump(mode="json", exclude={"id"})
    inside = ", ".join(f"{name} {value}" for name, value in settings.items())
    asked = "" if estimator.resolved_from == estimator.id else f", from {estimator.resolved_from}"
    spent = f"{_grouped(cost.gradient_examples)} gradient-examples"
    if cost.examples_relative is not None:
        spent += f", {plain(cost.examples_relative)} × exact retraining of the same interventions"
    if cost.noise_relative is not None:
        spent += f", and {plain(cost.noise_relative)} × for the noise"
    found = [("Estimator", f"{estimator.id}{asked}"), ("Settings", inside), ("Cost", spent)]
    for tool in report.tools:
        files = ", ".join(f"{file.name} {file.digest[:16]}" for file in tool.files)
        version = "" if tool.version is None else f" {tool.version}"
        found.append(("Tool of the requester", f"{tool.name}{version} ({files})"))
    return [(name, text) for name, text in found if text]


def _grouped(count: str) -> str:
    """Return a count with its thousands apart; text that is none stays as it is."""
    # Longer digits are no count of anything, and Python refuses to convert them at all.
    plausible = count.isascii() and count.isdecimal() and len(count) <= 60
    return f"{int(count):,}" if plausible else count


def _run(report: Report, facts: PageFacts) -> list[Fact]:
    software, run = report.software, report.run
    parts = (
        ("stageaudit", software.stageaudit),
        ("torch", software.torch),
        ("Python", software.python),
    )
    found = [
        ("Software", ", ".join(f"{name} {version}" for name, version in parts if version)),
        ("Device", software.device),
        ("Created", None if run is None else run.created),
        ("Mode", None if run is None else run.mode),
        ("Operator", None if run is None else run.operator),
        ("Assurance", assurance_words(report, facts)),
    ]
    for person in report.people:
        at = "" if person.organisation is None else f", {person.organisation}"
        found.append((person.role.capitalize(), f"{person.name}{at}"))
    return [(name, text) for name, text in found if text]


def _choice(choice: Choice, names: dict[str, str]) -> ChoiceRow:
    return ChoiceRow(
        label=named(choice.intervention, names),
        answered_by=choice.answered_by,
        within="yes" if choice.within_tolerance else "no",
        tolerance=plain(choice.tolerance),
    )
