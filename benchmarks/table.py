"""Figures as text, Markdown and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One number: what a variant's quantity is; quartiles where it was taken more than once."""

    variant: str
    quantity: str
    median: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Outcome:
    """What a case measured.

    Attributes:
        group: the case's group.
        title: what was measured, in full.
        label: the same in a word or two.
        figures: the first one's quantity is the one that summaries show.
        notes: lines below the table.
        wrong: variants that computed something else or broke, one line each.
    """

    group: str
    title: str
    label: str
    figures: tuple[Figure, ...]
    notes: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()


Grid = list[list[str]]  # a header and rows of cells


def grid(outcome: Outcome) -> Grid:
    """Variants down, quantities across."""
    quantities = _unique(figure.quantity for figure in outcome.figures)
    cells = {(figure.variant, figure.quantity): _cell(figure) for figure in outcome.figures}
    rows = [
        [variant, *(cells.get((variant, quantity), "") for quantity in quantities)]
        for variant in _unique(figure.variant for figure in outcome.figures)
    ]
    return [["", *quantities], *rows]


def summary(outcomes: Sequence[Outcome]) -> Grid:
    """The medians of several cases' first quantity; the longer of cases and variants goes down."""
    medians = {
        (outcome.label, figure.variant): number(figure.median)
        for outcome in outcomes
        for figure in outcome.figures
        if figure.quantity == outcome.figures[0].quantity
    }
    labels = [outcome.label for outcome in outcomes]
    variants = _unique(variant for _, variant in medians)
    if len(labels) > len(variants):
        rows = [[one, *(medians.get((one, v), "") for v in variants)] for one in labels]
        return [["", *variants], *rows]
    rows = [[one, *(medians.get((label, one), "") for label in labels)] for one in variants]
    return [["", *labels], *rows]


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def number(value: float) -> str:
    """Two decimals, more for what is small.

    >>> number(12.345), number(1.234), number(0.1234), number(0.00456)
    ('12.35', '1.23', '0.123', '0.0046')
    """
    size = abs(value)
    decimals = 2 if size >= 1 or size == 0 else 3 if size >= 0.01 else 4
    return f"{value:.{decimals}f}"


def _cell(figure: Figure) -> str:
    if figure.low is None or figure.high is None:
        return number(figure.median)
    return f"{number(figure.median)} ({number(figure.low)} - {number(figure.high)})"


# --- forms ---------------------------------------------------------------------------------------


def text(rows: Grid) -> str:
    """Columns side by side, for a terminal."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join(f"  {line}" for line in lines)


def markdown(rows: Grid) -> str:
    """A Markdown table."""
    header, *body = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    ruler = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ruler, *body])


def section(outcome: Outcome, form: Callable[[Grid], str], heading: str = "") -> str:
    """A case: its title, its table, its notes."""
    remarks = (*outcome.wrong, *outcome.notes)
    lines = "\n".join(f"- {line}" for line in remarks)
    shown = form(grid(outcome)) if outcome.figures else ""
    parts = [f"{heading}{outcome.title}", shown, lines]
    return "\n\n".join(part for part in parts if part)


def report(facts: Sequence[str], outcomes: Sequence[Outcome], title: str) -> str:
    """The whole run in Markdown: facts about the machine, then group after group."""
    parts = [f"# {title}", "\n".join(f"- {fact}" for fact in facts)]
    for group in _unique(outcome.group for outcome in outcomes):
        members = [outcome for outcome in outcomes if outcome.group == group]
        parts.append(f"## {group}")
        timed = [outcome for outcome in members if outcome.figures]
        if len(timed) > 1:
            quantity = timed[0].figures[0].quantity
            parts += [f"In short: {quantity}, medians.", markdown(summary(timed))]
        parts += [section(outcome, markdown, "### ") for outcome in members]
    return "\n\n".join(parts) + "\n"


def table(outcomes: Sequence[Outcome]) -> str:
    """The whole run in CSV, one figure a line."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["group", "case", "variant", "quantity", "median", "low", "high"])
    for outcome in outcomes:
        for figure in outcome.figures:
            row = [outcome.group, outcome.title, figure.variant, figure.quantity]
            numbers = (figure.median, figure.low, figure.high)
            writer.writerow(row + ["" if each is None else f"{each:.6g}" for each in numbers])
    return buffer.getvalue()
