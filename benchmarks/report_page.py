"""What the page of a report of 10,000 effects costs: CPU time, bytes, first paint in Chromium.

The report is constructed by the schema from a seed; no audit made it. CPU time is this process's,
from the verified report to the page; what verifying takes is measured by ``verify_speed``.

    python -m benchmarks.report_page [--quick] [--json FILE]
"""

import resource
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from auditor.attest.bundle import sign_report
from auditor.attest.keys import generate_key, load_signer
from auditor.attest.statement import Subject
from auditor.attest.trust import TrustFile, trust_key
from auditor.attest.verify import verify_bundle
from auditor.page.facts import verified_facts
from auditor.page.render import render_page
from benchmarks.large_report import large_report
from benchmarks.measuring import machine_facts, publish, read_options
from examples.report_page.browser import look, missing

LIMIT_SECONDS = 3.0
LIMIT_BYTES = 2 * 2**20


def main() -> int:
    """Measure, publish, and return 1 when a bound is not kept."""
    options = read_options(__doc__)
    facts = machine_facts()
    effects, repeats = (1_000, 2) if options.quick else (10_000, 5)
    report = large_report(effects, seed=0)
    pair = generate_key()
    subjects = (Subject(name="stagelog.json", digest=report.log.digest),)
    bundle = sign_report(report, subjects, load_signer(pair.private_pem))
    trust = TrustFile(keys=(trust_key(pair.public_pem, name="benchmark"),))
    verified = verify_bundle(bundle, trust, files={})
    page = render_page(verified.report, verified_facts(verified))
    results: dict[str, Any] = {
        "effects": effects,
        "constructed": "by the schema from seed 0; not by an audit",
        "render_cpu_seconds": _cpu(
            lambda: render_page(verified.report, verified_facts(verified)), repeats
        ),
        "bundle_bytes": len(bundle),
        "page_bytes": len(page.encode()),
        "within": {"render_seconds": LIMIT_SECONDS, "page_bytes": LIMIT_BYTES},
        "chromium": _browser(page, repeats),
    }
    publish("report_page", options=options, facts=facts, results=results)
    kept = (
        results["render_cpu_seconds"]["largest"] <= LIMIT_SECONDS
        and results["page_bytes"] <= LIMIT_BYTES
    )
    return 0 if kept else 1


def _cpu(work: Callable[[], object], repeats: int) -> dict[str, float]:
    """Return the CPU time of a call in this process: the median and the largest of some."""
    seconds = []
    for _ in range(repeats):
        before = resource.getrusage(resource.RUSAGE_SELF)
        work()
        after = resource.getrusage(resource.RUSAGE_SELF)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return {"median": round(statistics.median(seconds), 3), "largest": round(max(seconds), 3)}


def _browser(page: str, repeats: int) -> dict[str, Any]:
    """Return milliseconds to first paint, and until all tables are open, in new contexts."""
    lacking = missing()
    if lacking:
        return {"not_measured": f"needs {lacking}"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        path.write_text(page)
        view = {"url": path.as_uri(), "scheme": "light", "open": True}
        desk = look([{**view, "width": 1240, "height": 900}] * repeats)
        phone = look([{**view, "width": 390, "height": 844}] * repeats)
    return {"desk": _paints(desk), "phone": _paints(phone)}


def _paints(views: list[dict[str, Any]]) -> dict[str, Any]:
    paints = [dict(view["paint"]) for view in views]
    contentful = [paint["first-contentful-paint"] for paint in paints]
    return {
        "first_contentful_paint_ms": [round(paint) for paint in contentful],
        "median_ms": round(statistics.median(contentful)),
        "open_all_tables_ms": [round(view["opened"]) for view in views],
    }


if __name__ == "__main__":
    raise SystemExit(main())
