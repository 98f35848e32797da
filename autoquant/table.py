"""Table: a result as plain text and as HTML."""

from __future__ import annotations

import html
import io
import shutil
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

NATURAL_WIDTH = 100_000
"""Columns of a text that is not folded, at most."""
NARROWEST = 12
"""Columns of a folded cell, at least."""
PLAIN: dict[str, Any] = {"color_system": None, "force_terminal": False, "force_jupyter": False}
"""Arguments of a ``rich.console.Console`` that writes text, whatever it is run in."""
RULES = "    \n    \n -- \n    \n    \n    \n    \n    \n"
"""The lines of rich's tables as a ``rich.box.Box``: one of ASCII, below the headings."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        heading: above the cells.
        align: "left" for texts, which may be folded on a narrow terminal, "right" for numbers.
    """

    heading: str
    align: Literal["left", "right"] = "right"


@dataclass(frozen=True)
class Table:
    """A title, columns, rows and notes; ``str`` gives it as text.

    Attributes:
        title: the line above the headings.
        columns: headings, and on which side the cells are aligned.
        rows: a cell for each column.
        notes: lines below the rows.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.text(_terminal_width())

    def text(self, width: int | None = None) -> str:
        """The table as lines of text.

        Args:
            width: columns of a terminal; cells on the left are folded to fit, and nothing is cut.
                None: as wide as the cells are.
        """
        lines = [self.title, *(f"  {line}" for line in self._lines(width)), *self.notes]
        return "\n".join(line.rstrip() for line in lines)

    def _lines(self, width: int | None) -> list[str]:
        """The headings and the rows; none where there are no rows."""
        if not self.rows:
            return []
        from rich.box import Box
        from rich.console import Console
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable(box=Box(RULES, ascii=True), show_edge=False, padding=(0, 2, 0, 0))
        room = NATURAL_WIDTH if width is None else width - len("  ")
        narrowest = 0
        for index, column in enumerate(self.columns):
            cells = [column.heading, *(row[index] for row in self.rows)]
            widest = max(Text(cell).cell_len for cell in cells)
            least = widest if column.align == "right" else min(widest, NARROWEST)
            heading = Text(column.heading)
            table.add_column(heading, justify=column.align, min_width=least, overflow="fold")
            narrowest += least + 3  # and the gap to the next column
        for row in self.rows:
            table.add_row(*map(Text, row))
        written = io.StringIO()
        Console(file=written, width=max(narrowest, room), **PLAIN).print(table, crop=False)
        return written.getvalue().splitlines()

    def html(self) -> str:
        """The table as HTML without styles, every text escaped."""
        headings = "".join(_element("th", c.heading, c.align) for c in self.columns)
        rows = "".join(f"<tr>{self._html_cells(row)}</tr>\n" for row in self.rows)
        return (
            f"<table>\n{_element('caption', self.title)}\n"
            f"<thead><tr>{headings}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n"
            + "".join(f"{_element('p', note)}\n" for note in self.notes)
        )

    def _html_cells(self, row: tuple[str, ...]) -> str:
        cells = zip(self.columns, row, strict=True)
        return "".join(_element("td", cell, column.align) for column, cell in cells)


class Tabular(ABC):
    """A result that prints as tables, and shows them in notebooks."""

    @property
    @abstractmethod
    def tables(self) -> tuple[Table, ...]:
        """The tables, first to last."""

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.tables))

    def _repr_html_(self) -> str:
        return "".join(table.html() for table in self.tables)


def _element(tag: str, text: str, align: str | None = None) -> str:
    """An HTML element.

    Args:
        tag: its name.
        text: of it; is escaped.
        align: of a cell.
    """
    style = "" if align is None else f' style="text-align: {align}"'
    return f"<{tag}{style}>{html.escape(text)}</{tag}>"


def _terminal_width() -> int | None:
    """Columns of the terminal that is printed to; None where it is none."""
    try:
        return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    except (AttributeError, ValueError):  # there is no output, or it is closed
        return None
