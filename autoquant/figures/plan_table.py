"""The plan figure: what the chosen plan decides, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib
from matplotlib.figure import Figure

from autoquant.budget import readable
from autoquant.figures.labels import format_width, outcome_label, shorten
from autoquant.figures.style import BLACK, SMALL, Color, TableCell, draw_table
from autoquant.study.outcome import Outcome

MOST_ROWS = 80
"""Layers in the figure."""
COLUMNS = ("weight_bits", "recurrent_bits", "activation_bits", "hidden_bits", "width")
DARK = 1.5
"""Sum of red, green and blue below which a text is written in white."""


@dataclass(frozen=True)
class PlanData:
    """The chosen plan as a table, in the model's order.

    Attributes:
        title: which plan it is.
        columns: those of COLUMNS in which any layer has a value.
        rows: a layer's name and values; None where it has no bits of its own.
        left_out: number of layers beyond the first MOST_ROWS.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float | None, ...]], ...]
    left_out: int = 0


def plan_data(chosen: Outcome) -> PlanData:
    """The choices of a plan as a table.

    Args:
        chosen: the outcome whose plan is shown.
    """
    choices = chosen.plan.choices
    columns = tuple(
        column
        for column in COLUMNS
        if any(getattr(choice, column) is not None for choice in choices.values())
    )
    rows = [
        (shorten(layer), tuple(getattr(choice, column) for column in columns))
        for layer, choice in choices.items()
    ]
    title = f"chosen plan: {outcome_label(chosen)}, {readable(chosen.size_bytes)}"
    return PlanData(title, columns, tuple(rows[:MOST_ROWS]), len(rows[MOST_ROWS:]))


def choice_cell(column: str, value: float | None) -> tuple[str, Color]:
    """Text and colour of one choice: more bits are bluer, more width is more orange.

    Args:
        column: one of COLUMNS.
        value: bits or width; None where the layer has no such choice.

    >>> choice_cell("width", 1.25)[0], choice_cell("weight_bits", 32)[0]
    ('x1.25', 'float')
    >>> choice_cell("hidden_bits", None)[0]
    ''
    """
    maps = matplotlib.colormaps
    if value is None:
        return "", (1.0, 1.0, 1.0, 1.0)
    if column == "width":
        return format_width(value), maps["Oranges"](min(0.35 * (value - 1) ** 0.5, 0.6))
    if value > 8:
        return "float" if value == 32 else f"{value:g}", maps["Greys"](0.2)
    return f"{value:g}", maps["Blues"](0.08 + 0.09 * value)


def draw_plan(data: PlanData) -> Figure:
    """A table with a coloured cell for every choice.

    Args:
        data: the plan as a table.
    """
    row_count, column_count = len(data.rows), len(data.columns)
    names = [name for name, _ in data.rows]
    height = 1.1 + (0.32 if row_count <= 25 else 0.2) * row_count
    width = max(4.6, 0.085 * max(map(len, names)) + 0.95 * column_count)
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    draw_table(axes, _cells(data), column_gap=3)
    axes.set_yticks(range(row_count), names, fontsize=SMALL)
    titles = [column.replace("_", "\n") for column in data.columns]
    axes.set_xticks(range(column_count), titles, fontsize=SMALL)
    axes.tick_params(labeltop=True, labelbottom=False)
    figure.suptitle(data.title, fontsize=11)
    if data.left_out:
        axes.set_xlabel(f"... and {data.left_out} more layers", fontsize=SMALL)
    return figure


def _cells(data: PlanData) -> list[list[TableCell]]:
    """Text, background and text colour of every cell, row by row."""
    rows = []
    for _, values in data.rows:
        cells = [choice_cell(c, v) for c, v in zip(data.columns, values, strict=True)]
        rows.append([(text, color, _text_color(color)) for text, color in cells])
    return rows


def _text_color(background: Color) -> str:
    return "white" if sum(background[:3]) < DARK else BLACK
