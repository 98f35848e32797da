"""Results as text, Markdown and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Measurement:
    """One quantity of a variant.

    Attributes:
        variant: its name.
        quantity: what was measured and its unit: "ms", "over float nn.LSTM".
        median: over the rounds, or the only value.
        low: lower quartile; None where it was measured once.
        high: upper quartile; None where it was measured once.
    """

    variant: str
    quantity: str
    median: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class CaseResult:
    """What a case measured.

    Attributes:
        group: the case's group.
        title: what was measured, in full.
        label: the same in a word or two.
        measurements: the first one's quantity is the one that summaries show.
        notes: lines below the table.
        wrong: variants that computed something else or broke, one line each.
    """

    group: str
    title: str
    label: str
    measurements: tuple[Measurement, ...]
    notes: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()


Rows = list[list[str]]
"""A table: a header, and rows of texts."""


def rows_of(result: CaseResult) -> Rows:
    """Variants down, quantities across."""
    quantities = _unique(measurement.quantity for measurement in result.measurements)
    texts = {(m.variant, m.quantity): _text(m) for m in result.measurements}
    rows = [
        [variant, *(texts.get((variant, quantity), "") for quantity in quantities)]
        for variant in _unique(measurement.variant for measurement in result.measurements)
    ]
    return [["", *quantities], *rows]


def summary(results: Sequence[CaseResult]) -> Rows:
    """The medians of several cases' first quantity; the longer of cases and variants goes down."""
    medians = {
        (result.label, measurement.variant): format_number(measurement.median)
        for result in results
        for measurement in result.measurements
        if measurement.quantity == result.measurements[0].quantity
    }
    labels = [result.label for result in results]
    variants = _unique(variant for _, variant in medians)
    if len(labels) > len(variants):
        rows = [[label, *(medians.get((label, v), "") for v in variants)] for label in labels]
        return [["", *variants], *rows]
    rows = [[variant, *(medians.get((c, variant), "") for c in labels)] for variant in variants]
    return [["", *labels], *rows]


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def format_number(value: float) -> str:
    """Two decimals, more for what is small.

    >>> format_number(12.345), format_number(1.234)
    ('12.35', '1.23')
    >>> format_number(0.1234), format_number(0.00456)
    ('0.123', '0.0046')
    """
    size = abs(value)
    decimals = 2 if size >= 1 or size == 0 else 3 if size >= 0.01 else 4
    return f"{value:.{decimals}f}"


def _text(measurement: Measurement) -> str:
    median = format_number(measurement.median)
    if measurement.low is None or measurement.high is None:
        return median
    return f"{median} ({format_number(measurement.low)} - {format_number(measurement.high)})"


# --- formats -------------------------------------------------------------------------------------


def plain_text(rows: Rows) -> str:
    """Columns side by side, for a terminal."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join(f"  {line}" for line in lines)


def markdown(rows: Rows) -> str:
    """A Markdown table."""
    header, *body = [[text.replace("|", "\\|") for text in row] for row in rows]
    ruler = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ruler, *body])


def section(result: CaseResult, table: Callable[[Rows], str], heading: str = "") -> str:
    """A case: its title, its table, its notes.

    Args:
        result: of the case.
        table: writes rows as text: ``plain_text`` or ``markdown``.
        heading: before the title.
    """
    remarks = (*result.wrong, *result.notes)
    lines = "\n".join(f"- {line}" for line in remarks)
    shown = table(rows_of(result)) if result.measurements else ""
    parts = [f"{heading}{result.title}", shown, lines]
    return "\n\n".join(part for part in parts if part)


def report(facts: Sequence[str], results: Sequence[CaseResult], title: str) -> str:
    """The whole run in Markdown: facts about the machine, then group after group.

    Args:
        facts: one line each.
        results: of the cases measured so far.
        title: of the page.
    """
    parts = [f"# {title}", "\n".join(f"- {fact}" for fact in facts)]
    for group in _unique(result.group for result in results):
        members = [result for result in results if result.group == group]
        parts.append(f"## {group}")
        timed = [result for result in members if result.measurements]
        for quantity in _unique(result.measurements[0].quantity for result in timed):
            alike = [result for result in timed if result.measurements[0].quantity == quantity]
            if len(alike) > 1:
                parts += [f"In short: {quantity}, medians.", markdown(summary(alike))]
        parts += [section(result, markdown, "### ") for result in members]
    return "\n\n".join(parts) + "\n"


def to_csv(results: Sequence[CaseResult]) -> str:
    """The whole run in CSV, one measurement a line."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["group", "case", "variant", "quantity", "median", "low", "high"])
    for result in results:
        for measurement in result.measurements:
            row = [result.group, result.title, measurement.variant, measurement.quantity]
            numbers = (measurement.median, measurement.low, measurement.high)
            writer.writerow(row + ["" if n is None else f"{n:.6g}" for n in numbers])
    return buffer.getvalue()
