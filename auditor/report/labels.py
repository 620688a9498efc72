"""Labels of interventions as people read them: evaluation sets by name, not by digest."""

from collections.abc import Mapping
from typing import Final

from auditor.report.schema import Report

LABEL_DIGITS: Final = 12
"""How many digits of a reference's digest an intervention's label holds."""


def data_names(report: Report) -> dict[str, str]:
    """Return the names of evaluation sets by the digests that stand in labels."""
    return {data.digest[:LABEL_DIGITS]: data.name for data in report.evaluation_data}


def named(intervention: str, names: Mapping[str, str]) -> str:
    """Return a label with names of evaluation sets in place of their digests."""
    words = [
        f"by {names[word[3:]]}" if word.startswith("by=") and word[3:] in names else word
        for word in intervention.split(" ")
    ]
    return " ".join(words)
