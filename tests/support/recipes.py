"""Code blocks of documentation pages, so that tests run exactly what readers are told to run."""

import re

from tests.support.house import ROOT


def read_recipe(page: str, name: str) -> str:
    """Return the code block after ``<!-- recipe: NAME -->`` on a page.

    Args:
        page: Path from the root of the project.
        name: The recipe's name.

    Returns:
        The block's text without its fences.
    """
    pattern = rf"<!-- recipe: {re.escape(name)} -->\n```\w+\n(.*?)^```$"
    (block,) = re.findall(pattern, (ROOT / page).read_text(), flags=re.DOTALL | re.MULTILINE)
    return str(block)
