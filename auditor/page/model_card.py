"""A report as a part of a model card: Markdown that stands under the headings of others."""

from auditor.effects import Effect
from auditor.page.direction import Direction, better_words, direction_of, verdict_words
from auditor.page.facts import PageFacts, assurance_words
from auditor.page.figures import decimals_for, plain, signed
from auditor.page.sections.head import report_sentence, signature_sentence
from auditor.page.strips import interval_text
from auditor.report.labels import data_names, named
from auditor.report.plain_text import markdown_text
from auditor.report.repair import BeforeAfter
from auditor.report.schema import QueryValue, Report

MAX_ROWS = 30
"""Effects that are listed; a model card has no room for thousands."""


def model_card(report: Report, facts: PageFacts) -> str:
    """Return the fragment: verdict, queries, established effects, limitations, how to verify."""
    found = report.effects if report.repair is None else ()  # effects are the audited model's
    established = [e for e in found if direction_of(e) is not Direction.OPEN]
    lines = [
        "## Training-stage audit",
        "",
        f"Which stages of the training run {markdown_text(report.log.name)} are responsible for "
        f"how this model behaves. {report_sentence(report)}",
        "",
        *_queries(report),
        *_effects(established, report),
        "### What these figures do not say",
        "",
        *(
            f"- {markdown_text(limit.text)} ({markdown_text(limit.id)})"
            for limit in report.limitations
        ),
        "",
        *_provenance(report, facts),
    ]
    if report.repair is not None:
        lines[3:3] = ["", f"**Repaired model.** {markdown_text(report.repair.statement)}"]
    return "\n".join(lines) + "\n"


def _queries(report: Report) -> list[str]:
    lines = [
        "| measured on this model | value | unit | better | examples |",
        "|---|---:|---|---|---:|",
    ]
    repair = report.repair
    if repair is None:
        rows = [_measured(q, value=q.value) for q in report.queries]
    else:
        rows = [_measured(q, value=q.after) for q in repair.queries]
    lines += rows[:MAX_ROWS]
    return [*lines, *_more(len(rows)), ""]


def _measured(query: QueryValue | BeforeAfter, *, value: float) -> str:
    return (
        f"| {markdown_text(query.query)} | {plain(value)} | {markdown_text(query.unit)} "
        f"| {better_words(query.better)} | {query.n} |"
    )


def _effects(established: list[Effect], report: Report) -> list[str]:
    if not established:
        return []
    names = data_names(report)
    lines = ["| intervention | query | effect | interval | verdict |", "|---|---|---:|---:|---|"]
    for effect in established[:MAX_ROWS]:
        decimals = decimals_for([effect.known_value])
        lines.append(
            f"| {markdown_text(named(effect.intervention, names))} | {markdown_text(effect.query)} "
            f"| {signed(effect.value, decimals=decimals)} {markdown_text(effect.unit)} "
            f"| {interval_text(effect, decimals)} | {verdict_words(effect)} |"
        )
    return [*lines, *_more(len(established)), ""]


def _more(count: int) -> list[str]:
    left = count - MAX_ROWS
    return ["", f"{left} more are in the report."] if left > 0 else []


def _provenance(report: Report, facts: PageFacts) -> list[str]:
    bundle = "" if facts.report_id is None else f"Report `{facts.report_id}`. "
    return [
        f"{bundle}{markdown_text(signature_sentence(facts, of='card'))} "
        f"Log `{report.log.digest}`, model `{report.model.digest}` "
        f"({'bound to the log' if report.model.bound else 'not bound to a file'}), estimator "
        f"{markdown_text(report.estimator.id)}, assurance {assurance_words(report, facts)}. "
        "The signed bundle counts, not this text: `stageaudit verify report.sigstore.json`."
    ]
