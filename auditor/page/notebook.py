"""A report's page inside a notebook: in a frame of its own, where only its own style applies.

Imported only when a notebook shows a report; needs the extra ``[report]``.
"""

from typing import Final

from markupsafe import escape

from auditor.page.facts import PageFacts
from auditor.page.render import render_page
from auditor.report.schema import Report

HEIGHT: Final = "44rem"


def frame(report: Report, facts: PageFacts) -> str:
    """Return an HTML element that holds the whole page and may run nothing."""
    return (
        f'<iframe sandbox="" title="Stage audit of {escape(report.log.name)}" '
        f'style="width:100%;height:{HEIGHT};border:1px solid #bbb;border-radius:4px" '
        f'srcdoc="{escape(render_page(report, facts))}"></iframe>'
    )
