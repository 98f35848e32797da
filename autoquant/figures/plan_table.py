"""The plan figure: what the chosen plan decides, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib
from matplotlib.figure import Figure

from autoquant.budget import readable
from autoquant.figures.study_data import label_of, shortened, times
from autoquant.figures.style import BLACK, SMALL, draw_tiles
from autoquant.study.outcome import Outcome

MOST_ROWS = 80  # layers in the figure
COLUMNS = ("weight_bits", "recurrent_bits", "activation_bits", "hidden_bits", "width")


@dataclass(frozen=True)
class PlanData:
    """The chosen plan as a table, in the model's order.

    Attributes:
        title: which plan it is.
        columns: those of COLUMNS in which any layer has a value.
        rows: a layer's name and values; None where it has no bits of its own.
        left_out: layers beyond the first MOST_ROWS.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float | None, ...]], ...]
    left_out: int = 0


def plan_data(chosen: Outcome) -> PlanData:
    """The choices of a plan as a table."""
    choices = chosen.plan.choices
    used = [c for c in COLUMNS if any(getattr(v, c) is not None for v in choices.values())]
    rows = [(shortened(k), tuple(getattr(v, c) for c in used)) for k, v in choices.items()]
    title = f"chosen plan: {label_of(chosen)}, {readable(chosen.size_bytes)}"
    return PlanData(title, tuple(used), tuple(rows[:MOST_ROWS]), len(rows[MOST_ROWS:]))


def cell(column: str, value: float | None) -> tuple[str, tuple[float, ...]]:
    """A cell's text and colour: more bits are bluer, more width is more orange.

    >>> cell("width", 1.25)[0], cell("weight_bits", 32)[0], cell("hidden_bits", None)[0]
    ('x1.25', 'float', '')
    """
    maps = matplotlib.colormaps
    if value is None:
        return "", (1.0, 1.0, 1.0, 1.0)
    if column == "width":
        return times(value), maps["Oranges"](min(0.35 * (value - 1) ** 0.5, 0.6))
    if value > 8:
        return "float" if value == 32 else f"{value:g}", maps["Greys"](0.2)
    return f"{value:g}", maps["Blues"](0.08 + 0.09 * value)


def _ink(color: tuple[float, ...]) -> str:
    return "white" if sum(color[:3]) < 1.5 else BLACK


def draw_plan(data: PlanData) -> Figure:
    """A table with a cell of colour for every choice."""
    count, wide = len(data.rows), len(data.columns)
    height = 1.1 + (0.32 if count <= 25 else 0.2) * count
    names = [name for name, _ in data.rows]
    width = max(4.6, 0.085 * max(map(len, names)) + 0.95 * wide)
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    cells = [[cell(c, v) for c, v in zip(data.columns, row, strict=True)] for _, row in data.rows]
    tiles = [[(text, color, _ink(color)) for text, color in row] for row in cells]
    draw_tiles(axes, tiles, gap=3)
    axes.set_yticks(range(count), names, fontsize=SMALL)
    axes.set_xticks(range(wide), [c.replace("_", "\n") for c in data.columns], fontsize=SMALL)
    axes.tick_params(labeltop=True, labelbottom=False)
    figure.suptitle(data.title, fontsize=11)
    if data.left_out:
        axes.set_xlabel(f"... and {data.left_out} more layers", fontsize=SMALL)
    return figure
