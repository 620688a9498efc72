"""Reads a page as a tree, by the standard library's parser and the rules of HTML's end tags."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

from typing_extensions import override

VOID = frozenset({"meta", "br", "hr", "img", "input", "link"})
OPTIONAL = frozenset({"tr", "td", "th"})
"""Elements that the large table does not close: the next one, or their parent's end, does."""


@dataclass
class Node:
    """An element; ``parts`` are its texts and children in order."""

    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    parts: list["Node | str"] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All text inside."""
        return "".join(part if isinstance(part, str) else part.text for part in self.parts)

    @property
    def words(self) -> str:
        """All text inside, with a space between elements."""
        return " ".join(part if isinstance(part, str) else part.words for part in self.parts)

    @property
    def classes(self) -> set[str]:
        return set(self.attributes.get("class", "").split())

    def walk(self) -> Iterator["Node"]:
        """Yield this element and all below it, in order."""
        yield self
        for part in self.parts:
            if isinstance(part, Node):
                yield from part.walk()

    def all(self, tag: str, *classes: str) -> list["Node"]:
        return [n for n in self.walk() if n.tag == tag and set(classes) <= n.classes]

    def one(self, tag: str, *classes: str) -> "Node":
        (found,) = self.all(tag, *classes)
        return found

    def by_id(self, name: str) -> "Node":
        (found,) = (n for n in self.walk() if n.attributes.get("id") == name)
        return found


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.stack = [Node("document")]

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), f"<{tag}> repeats an attribute: {names}"
        if tag in {"td", "th"} and self.stack[-1].tag in {"td", "th"}:
            self.stack.pop()
        if tag == "tr":
            self._close_optional()
        node = Node(tag, {name: value or "" for name, value in attrs})
        self.stack[-1].parts.append(node)
        if tag not in VOID:
            self.stack.append(node)

    @override
    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    @override
    def handle_endtag(self, tag: str) -> None:
        if tag not in OPTIONAL:
            self._close_optional()
        elif tag == "tr" and self.stack[-1].tag in {"td", "th"}:
            self.stack.pop()
        assert self.stack[-1].tag == tag, f"</{tag}> closes <{self.stack[-1].tag}>"
        self.stack.pop()

    @override
    def handle_data(self, data: str) -> None:
        self.stack[-1].parts.append(data)

    def _close_optional(self) -> None:
        while self.stack[-1].tag in OPTIONAL:
            self.stack.pop()


def read_page(page: str) -> Node:
    """Return the document; elements that do not nest are an AssertionError."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    assert [node.tag for node in reader.stack] == ["document"]
    return reader.stack[0]


def shape(document: Node) -> list[tuple[str, ...]]:
    """Return every element with the names of its attributes: what no text may change."""
    return [(node.tag, *sorted(node.attributes)) for node in document.walk()]
