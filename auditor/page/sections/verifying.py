"""How a reader finds out, without this page, who signed the report and what it is about."""

import shlex
from dataclasses import dataclass

from auditor.attest.verify import Check, ComparedSubject
from auditor.page.facts import PageFacts
from auditor.page.sections.head import signature_sentence
from auditor.report.schema import Report

BUNDLE = "report.sigstore.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class SubjectLine:
    """A file the report is about."""

    name: str
    digest: str
    outcome: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Verifying:
    """The section."""

    signature: str
    checks: tuple[Check, ...]
    subjects: tuple[SubjectLine, ...]
    commands: tuple[str, ...]
    keyid: str | None
    report_id: str | None


def verifying_of(report: Report, facts: PageFacts) -> Verifying:
    """Return what was checked, and the commands that check it again."""
    del report
    names = " ".join(_argument(subject.name) for subject in facts.subjects)
    return Verifying(
        signature=signature_sentence(facts),
        checks=facts.checks,
        subjects=tuple(
            SubjectLine(
                name=subject.name,
                digest=subject.digest,
                outcome=subject.outcome if isinstance(subject, ComparedSubject) else "not compared",
            )
            for subject in facts.subjects
        ),
        commands=(
            'stageaudit keys trust signer.pub.pem --name "who signs"',
            f"stageaudit verify {BUNDLE} {names}".rstrip(),
        ),
        keyid=facts.keyid,
        report_id=facts.report_id,
    )


def _argument(name: str) -> str:
    """Return a file name that a shell takes as one argument and no option."""
    return shlex.quote(f"./{name}" if name.startswith("-") else name)
