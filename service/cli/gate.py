"""``stageaudit gate``: may this release go out, by this policy and its signed report?

Offline, from files. Exit codes: 0 pass, 1 fail, 6 investigate; 3 signature, 4 subject, 7 refused
input, 10 the policy does not fit the report, 11 nor the baseline, 12 a review or a waiver is of
another report.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from auditor.attest.review import verify_review
from auditor.attest.trust import TrustFile
from auditor.attest.verify import verify_bundle
from auditor.attest.waiver import verify_waiver
from auditor.edge.clock import SystemClock
from auditor.policy.judge import Judged, judge
from auditor.policy.junit import junit_xml
from auditor.policy.markdown import markdown
from auditor.policy.result import ORDER, Finding, GateResult, Outcome
from auditor.stagelog.digest import Digest
from service.cli.bundle_reader import read_bundle
from service.cli.output import ExitCode, JsonOption, console, emit, keep, plain
from service.cli.policy_file import read_policy
from service.cli.trusting import KeyOption, TrustOption, chosen_trust, digests_of

CODES = {
    Outcome.PASS: ExitCode.OK,
    Outcome.INVESTIGATE: ExitCode.INVESTIGATE,
    Outcome.FAIL: ExitCode.FAIL,
}
STYLES = {Outcome.PASS: "green", Outcome.INVESTIGATE: "yellow", Outcome.FAIL: "bold red"}


def gate(
    policy: Annotated[Path, typer.Argument(help="The policy, YAML.")],
    report: Annotated[Path, typer.Argument(help="The signed report of the release.")],
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE|NAME=FILE]...",
            help="Files the report must be about, as for `verify`: the model that is released.",
        ),
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="The signed report of the last release, to compare with.")
    ] = None,
    review: Annotated[
        list[Path] | None,
        typer.Option(help="A signed review of the report, for rules about reviews; repeatable."),
    ] = None,
    waiver: Annotated[
        list[Path] | None,
        typer.Option(help="A signed waiver of a rule for the report; repeatable."),
    ] = None,
    trust: TrustOption = None,
    key: KeyOption = None,
    allow_missing: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A subject you do not have; may be given repeatedly."),
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML here.")] = None,
    summary: Annotated[
        Path | None, typer.Option(help="Write Markdown for a pull request here.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the result as JSON here.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Judge a signed report by a policy: pass (exit 0), fail (1) or investigate (6).

    Signatures are verified first, as by `stageaudit verify`; nothing is fetched.
    """
    rules, keys = read_policy(policy), chosen_trust(trust, key)
    judged = _verified(
        report,
        keys,
        files=digests_of(files or ()),
        allow_missing=frozenset(allow_missing or ()),
        reviews=review or (),
        waivers=waiver or (),
    )
    compared = None if baseline is None else _verified(baseline, keys)
    result = judge(rules, judged, baseline=compared, now=SystemClock().now())
    text = result.model_dump_json(by_alias=True, exclude_none=True, indent=2) + "\n"
    keep(junit_xml(result), junit)
    keep(markdown(result).encode(), summary)
    keep(text.encode(), output)
    emit(result, as_json=as_json, human=lambda: _print(result))
    raise typer.Exit(CODES[result.outcome])


def _verified(
    path: Path,
    keys: TrustFile,
    *,
    files: dict[str, Digest] | None = None,
    allow_missing: frozenset[str] = frozenset(),
    reviews: Sequence[Path] = (),
    waivers: Sequence[Path] = (),
) -> Judged:
    found = verify_bundle(read_bundle(path), keys, files=files or {}, allow_missing=allow_missing)
    return Judged(
        report=found.report,
        id=found.report_id,
        reviews=tuple(verify_review(read_bundle(path), keys, report=found) for path in reviews),
        waivers=tuple(verify_waiver(read_bundle(path), keys, report=found) for path in waivers),
    )


def _print(result: GateResult) -> None:
    table = Table("outcome", "rule", "finding", "who, until", box=None)
    for finding in sorted(result.findings, key=lambda f: -ORDER.index(f.outcome)):
        table.add_row(
            f"[{STYLES[finding.outcome]}]{finding.outcome}[/]",
            plain(finding.rule),
            plain(finding.message),
            _duty(finding),
        )
    console.print(table)
    style, counts = STYLES[result.outcome], len(result.of(result.outcome))
    waived = sum(finding.waived is not None for finding in result.findings)
    console.print(
        f"\n[{style}]{result.outcome}[/]: {counts} of {len(result.findings)} findings"
        f"{f', {waived} waived' if waived else ''}, policy "
        f"{result.policy.digest[:12]}, report {result.report[:12]}, assurance {result.assurance}",
        highlight=False,
    )


def _duty(finding: Finding) -> str:
    return "" if finding.owner is None else f"{plain(finding.owner)}, {finding.due}"
