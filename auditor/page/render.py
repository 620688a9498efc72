"""A report as one HTML file: no script, nothing loaded, every string escaped.

A section is a function from report and facts to what is shown, and a template of the same name. To
add one: both files, and a line of :data:`SECTIONS`.
"""

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from auditor.page.facts import PageFacts
from auditor.page.sections.absent import absent_of
from auditor.page.sections.disagreements import disagreements_of
from auditor.page.sections.effects import effect_plots
from auditor.page.sections.everything import everything_of
from auditor.page.sections.extremes import extremes_of
from auditor.page.sections.groups import gaps_of
from auditor.page.sections.head import head_of
from auditor.page.sections.history import history_part
from auditor.page.sections.limitations import limitations_of
from auditor.page.sections.provenance import provenance_of
from auditor.page.sections.repair import repair_of
from auditor.page.sections.reviews import reviews_of
from auditor.page.sections.timeline import timelines_of
from auditor.page.sections.together import together_of
from auditor.page.sections.validation import validation_part
from auditor.page.sections.verifying import verifying_of
from auditor.report.schema import Report
from auditor.stagelog.digest import DIGEST_PATTERN


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A part of the page.

    Attributes:
        id: Anchor, and name of the template ``sections/<id>.html``.
        title: Its heading.
        view: Returns what the template shows as ``s``; nothing leaves the section out.
    """

    id: str
    title: str
    view: Callable[[Report, PageFacts], object]


SECTIONS: Final = (
    Section(id="limitations", title="What these figures do not say", view=limitations_of),
    Section(id="repair", title="Before and after the repair", view=repair_of),
    Section(id="effects", title="Effects of the stages", view=effect_plots),
    Section(id="disagreements", title="Where interventions disagree", view=disagreements_of),
    Section(id="groups", title="Gaps between groups", view=gaps_of),
    Section(id="timeline", title="Along the training", view=timelines_of),
    Section(id="extremes", title="Examples raised and lowered most", view=extremes_of),
    Section(id="together", title="Several stages together", view=together_of),
    Section(id="everything", title="Every effect", view=everything_of),
    Section(id="absent", title="What was not computed", view=absent_of),
    Section(id="reviews", title="Who reviewed it", view=reviews_of),
    Section(id="validation", title="How far the estimator was validated", view=validation_part),
    Section(id="history", title="Other audits of this log", view=history_part),
    Section(id="provenance", title="Where the figures come from", view=provenance_of),
    Section(id="verifying", title="How to verify", view=verifying_of),
)
"""The page below its head, from top to bottom; what a repair report is about comes first."""


def render_page(report: Report, facts: PageFacts) -> str:
    """Return the page of a report.

    Args:
        report: The report; whatever its strings hold is shown as text.
        facts: What was found out about its signature, and when the page is made.
    """
    templates = page_templates()
    style = page_style()
    views = [(section, section.view(report, facts)) for section in SECTIONS]
    shown = [(section, view) for section, view in views if view]
    return templates.get_template("page.html").render(
        head=head_of(report, facts),
        style=Markup(style),  # noqa: S704 - a file of this package
        policy=content_policy(style),
        sections=[
            (section, Markup(_section(templates, section, view)))  # noqa: S704 - rendered above
            for section, view in shown
        ],
    )


def content_policy(style: str) -> str:
    """Return the Content-Security-Policy: nothing is loaded, no script runs, this style applies."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def page_policy() -> str:
    """Return the policy of every page, for those who serve one."""
    return f"{content_policy(page_style())}; frame-ancestors 'none'; sandbox"


def _section(templates: Environment, section: Section, view: object) -> str:
    return templates.get_template(f"sections/{section.id}.html").render(s=view, id=section.id)


@cache
def page_templates() -> Environment:
    """Return the templates of pages: everything is escaped, nothing undefined is left out."""
    templates = Environment(
        loader=PackageLoader("auditor.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        finalize=_shown,
    )
    templates.filters["place"] = _place
    templates.tests["digest"] = _is_digest
    return templates


@cache
def page_style() -> str:
    """Return the style of pages."""
    return page_templates().get_template("page.css").render()


def _is_digest(text: str) -> bool:
    return re.fullmatch(DIGEST_PATTERN, text) is not None


def _shown(value: object) -> object:
    """Replace what would be obeyed and not seen, such as marks that turn the reading order."""
    if not isinstance(value, str) or isinstance(value, Markup) or value.isprintable():
        return value
    return "".join(
        c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in value
    )


def _place(value: float) -> str:
    """Return a percentage or a pixel with two decimals at most."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
