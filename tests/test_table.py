"""Tables as text and as HTML."""

from __future__ import annotations

import io
import os
import sys
from collections import Counter
from typing import Any
from xml.etree import ElementTree

import pytest

from autoquant.table import Column, Table, Tabular

LONG = "encoder.layers.0.self_attention.in_projection"
REASON = "the units of a long reason are words, which may be folded where there is no room for them"
TABLE = Table(
    "layers [bold]of <a> model[/bold]",
    (Column("layer", "left"), Column("bytes"), Column("reason", "left")),
    ((LONG, "1,234", REASON), ("[red]x[/red]", "5", ":smile: & more")),
    ("a note <b>", "[link]another[/link]"),
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_text_is_as_wide_as_its_cells_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert str(TABLE).splitlines() == [
        "layers [bold]of <a> model[/bold]",
        f"  {'layer':<{len(LONG)}}   bytes   reason",
        "  " + "-" * (len(LONG) + len(REASON) + 13),
        f"  {LONG}   1,234   {REASON}",
        f"  {'[red]x[/red]':<{len(LONG)}}       5   :smile: & more",
        "a note <b>",
        "[link]another[/link]",
    ]


@pytest.mark.parametrize("width", [1, 30, 50, 80])
def test_cells_on_the_left_are_folded_on_a_terminal_and_nothing_is_cut(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setattr("shutil.get_terminal_size", lambda **_: os.terminal_size((width, 24)))
    rows = str(TABLE).splitlines()[3:-2]
    assert max(map(len, rows)) <= max(width, 45)  # 12 columns for each folded cell
    assert "1,234" in rows[0].split()
    cells = "".join(cell for row in TABLE.rows for cell in row)
    assert Counter("".join("".join(rows).split())) == Counter("".join(cells.split()))
    assert str(TABLE) == TABLE.text(width) != TABLE.text()


def test_no_letter_is_lost_where_cells_are_folded() -> None:
    table = Table("", (Column("layer", "left"), Column("n")), ((LONG, "7"),))
    lines = table.text(20).splitlines()[3:]
    assert "".join(line.replace(" 7", "").strip() for line in lines) == LONG


def test_a_table_without_rows_is_its_title_and_its_notes() -> None:
    assert str(Table("none", (Column("layer"),), (), ("note",))) == "none\nnote"


@pytest.mark.parametrize("stdout", [None, "closed"])
def test_a_table_needs_no_output(stdout: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", None if stdout is None else closed)
    assert str(TABLE) == TABLE.text()


class Twice(Tabular):
    """The table two times."""

    tables = (TABLE, TABLE)


def test_html_has_every_text_escaped() -> None:
    page = Twice()._repr_html_()
    root = ElementTree.fromstring(f"<div>{page}</div>")
    assert [element.tag for element in root] == ["table", "p", "p"] * 2
    table = root[0]
    assert [cell.text for cell in table.iter("th")] == ["layer", "bytes", "reason"]
    assert [cell.text for cell in table.iter("td")] == [c for row in TABLE.rows for c in row]
    aligned = [cell.get("style") for cell in table.iter("td")]
    assert aligned[:2] == ["text-align: left", "text-align: right"]
    assert [element.text for element in root.iter("p")] == [*TABLE.notes] * 2
    assert [element.text for element in root.iter("caption")] == [TABLE.title] * 2
    assert str(Twice()) == f"{TABLE}\n\n{TABLE}"
