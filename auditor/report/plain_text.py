"""Text of others inside Markdown of ours: nothing in it is markup."""

from auditor.errors import printable


def markdown_text(text: str) -> str:
    """Return text in which nothing is markup: names come from whoever wrote the request."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>#|~@!" else c for c in printable(text))
