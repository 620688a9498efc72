"""A gate's result as Markdown, for the summary of a pull request."""

from auditor.policy.result import Finding, GateResult, Outcome
from auditor.report.plain_text import markdown_text

MAX_ROWS = 50
"""Findings that are listed; a pull request has no room for thousands."""

_TITLE = {
    Outcome.PASS: "passes",
    Outcome.INVESTIGATE: "needs a look",
    Outcome.FAIL: "fails",
}


def markdown(result: GateResult) -> str:
    """Return a headline, what failed or is open, and what it rests on."""
    counts = ", ".join(f"{len(result.of(outcome))} {outcome.value}" for outcome in Outcome)
    lines = [
        f"### Gate {markdown_text(result.policy.name)} {_TITLE[result.outcome]}",
        "",
        f"{len(result.findings)} findings: {counts}.",
        "",
    ]
    waived = [finding for finding in result.findings if finding.waived is not None]
    bad = [*result.of(Outcome.FAIL), *result.of(Outcome.INVESTIGATE), *waived]
    if bad:
        lines += ["| outcome | rule | finding | who, until |", "|---|---|---|---|"]
        lines += [_row(finding) for finding in bad[:MAX_ROWS]]
        lines.append("")
    if len(bad) > MAX_ROWS:
        lines += [f"{len(bad) - MAX_ROWS} more are in the JSON result.", ""]
    baseline = f", baseline `{result.baseline[:12]}`" if result.baseline else ""
    lines.append(
        f"Report `{result.report[:12]}` ({markdown_text(result.assurance)}), {result.model} model, "
        f"policy `{result.policy.digest[:12]}`{baseline}, judged {result.created}. Effects are "
        "statements about computation, not about intent, negligence or legal responsibility."
    )
    return "\n".join(lines) + "\n"


def _row(finding: Finding) -> str:
    duty = "" if finding.owner is None else f"{markdown_text(finding.owner)}, {finding.due}"
    outcome = finding.outcome.value if finding.waived is None else "waived"
    cells = (outcome, markdown_text(finding.rule), markdown_text(finding.message), duty)
    return "| " + " | ".join(cells) + " |"
