"""A page as a browser reads it: its elements, its tables and its texts."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "input", "wbr", "img", "br", "link"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    children: list[Element | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Without the space around lines."""
        parts = [each if isinstance(each, str) else each.text for each in self.children]
        return " ".join("".join(parts).split())

    def every(self, tag: str) -> list[Element]:
        """All elements inside with a tag, in order."""
        inner = [each for each in self.children if isinstance(each, Element)]
        return [x for each in inner for x in ([each] if each.tag == tag else []) + each.every(tag)]

    def of_class(self, tag: str, name: str) -> list[Element]:
        classes = [(each, each.attributes.get("class", "").split()) for each in self.every(tag)]
        return [each for each, names in classes if name in names]

    def by_id(self, name: str) -> Element:
        return next(each for each in self.all() if each.attributes.get("id") == name)

    def all(self) -> list[Element]:
        inner = [each for each in self.children if isinstance(each, Element)]
        return [x for each in inner for x in (each, *each.all())]

    def rows(self) -> list[list[str]]:
        """The texts of a table's cells, row by row, without those of tables inside."""
        body = next(each for each in self.every("tbody"))
        rows = [each for each in body.children if isinstance(each, Element)]
        return [[cell.text for cell in row.children if isinstance(cell, Element)] for row in rows]


class _Builder(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def parse(html: str) -> Element:
    """The elements of a page; every one must be closed where it was opened."""
    builder = _Builder()
    builder.feed(html)
    builder.close()
    assert builder.open == [builder.root]
    return builder.root
