"""A gate's result as JUnit XML, which pipelines show beside their tests.

A finding is a test case: *fail* is a failure, *investigate* an error, so that pipelines that know
two colours do not show it green.
"""

from xml.etree.ElementTree import Element, SubElement, indent, tostring

from auditor.errors import printable
from auditor.policy.result import Finding, GateResult, Outcome


def junit_xml(result: GateResult) -> bytes:
    """Return the result as one test suite, UTF-8."""
    failed, open_ = len(result.of(Outcome.FAIL)), len(result.of(Outcome.INVESTIGATE))
    counts = {"tests": str(len(result.findings)), "failures": str(failed), "errors": str(open_)}
    root = Element("testsuites", counts)
    suite = SubElement(
        root,
        "testsuite",
        {"name": _clean(result.policy.name), "timestamp": result.created, **counts},
    )
    properties = SubElement(suite, "properties")
    facts = {"report": result.report, "policy": result.policy.digest, "outcome": result.outcome}
    for name, value in facts.items():
        SubElement(properties, "property", {"name": name, "value": str(value)})
    for finding in result.findings:
        _case(suite, finding)
    indent(root)
    text: str = tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'.encode()


def _case(suite: Element, finding: Finding) -> None:
    parts = (finding.intervention, None if finding.metric is None else f"on {finding.metric}")
    name = " ".join(part for part in parts if part) or finding.check
    case = SubElement(suite, "testcase", {"classname": _clean(finding.rule), "name": _clean(name)})
    if finding.waived is not None:
        SubElement(case, "system-out").text = _clean(finding.message)
    kinds = {Outcome.FAIL: "failure", Outcome.INVESTIGATE: "error"}
    if finding.outcome in kinds:
        duty = f" {finding.owner} looks at it by {finding.due}." if finding.owner else ""
        body = SubElement(
            case,
            kinds[finding.outcome],
            {"type": finding.outcome.value, "message": _clean(finding.message)},
        )
        body.text = _clean(f"{finding.message}.{duty}")


def _clean(text: str) -> str:
    """Return text that XML 1.0 can hold."""
    return printable(text)
