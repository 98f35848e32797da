"""The sensitivity figure: how much the loss increases when one layer alone has few bits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from autoquant.analysis.sensitivity import Sensitivity
from autoquant.figures.labels import outcome_label, shorten
from autoquant.figures.plan_table import MOST_ROWS
from autoquant.figures.style import BLACK, BLUE, SMALL, Color, draw_table
from autoquant.study.outcome import Outcome

ROW_SUFFIXES = {"weight_bits": "", "recurrent_bits": ", recurrent"}
"""What a row's name adds to the layer's, by field of a LayerChoice."""
DECADES = 3
"""Powers of ten between the palest and the darkest cell."""
SMALLEST_INCREASE = 1e-30
"""Smaller increases count as this one: zero has no logarithm."""


@dataclass(frozen=True)
class SensitivityData:
    """The increases of the loss as a table, in the model's order.

    Attributes:
        bits: the columns, rising.
        rows: a layer's name, and its loss increases; None where it has no such choice.
        chosen: for each row, the column that the chosen plan takes; None where there is no plan.
        plan: the name of that plan.
        left_out: number of rows beyond the first MOST_ROWS.
    """

    bits: tuple[float, ...]
    rows: tuple[tuple[str, tuple[float | None, ...]], ...]
    chosen: tuple[int | None, ...]
    plan: str | None = None
    left_out: int = 0


def sensitivity_data(path: Path, chosen: Outcome | None) -> SensitivityData | None:
    """The sensitivity that a search recorded; None without a record.

    Args:
        path: of the study's ``sensitivity.json``.
        chosen: whose plan is marked, if any.

    Raises:
        UserError: the file is not what a search writes.
    """
    if not path.is_file():
        return None
    increases = Sensitivity.read(path).loss_increases
    dimensions = {_row_name(name): name for name in list(increases)[:MOST_ROWS]}
    if not dimensions:
        return None
    bits = tuple(sorted({bits for by_bits in increases.values() for bits in by_bits}))
    return SensitivityData(
        bits=bits,
        rows=tuple(
            (row, tuple(increases[name].get(b) for b in bits)) for row, name in dimensions.items()
        ),
        chosen=tuple(_chosen_column(chosen, name, bits) for name in dimensions.values()),
        plan=outcome_label(chosen) if chosen else None,
        left_out=len(increases) - len(dimensions),
    )


def _row_name(dimension: str) -> str:
    """The layer's name, shortened, and what the bits are of if not of all weights."""
    layer, field = dimension.rsplit(".", 1)
    return shorten(layer) + ROW_SUFFIXES[field]


def _chosen_column(chosen: Outcome | None, dimension: str, bits: tuple[float, ...]) -> int | None:
    """The column of the bits that a plan has in one dimension, if the table has it.

    Args:
        chosen: the outcome with the plan.
        dimension: name of a layer and a field, joined by a dot.
        bits: the columns.
    """
    layer, field = dimension.rsplit(".", 1)
    if chosen is None or layer not in chosen.plan.choices:
        return None
    choice = chosen.plan[layer]
    chosen_bits = choice.bits_of("recurrent") if field == "recurrent_bits" else choice.weight_bits
    return bits.index(chosen_bits) if chosen_bits in bits else None


def format_increase(increase: float | None) -> str:
    """An increase of the loss for people.

    Args:
        increase: infinite where the loss was not a number; None where none was measured.

    >>> format_increase(0.01234), format_increase(0.00002)
    ('0.012', '<0.001')
    >>> format_increase(float("inf")), format_increase(None)
    ('nan', '')
    """
    if increase is None:
        return ""
    if math.isinf(increase):
        return "nan"
    return "<0.001" if increase < 0.001 else f"{increase:.2g}"


def draw_sensitivity(data: SensitivityData) -> Figure:
    """A table in colour, darker where the loss increases more; the chosen plan is framed.

    Args:
        data: the table.
    """
    names = [name for name, _ in data.rows]
    size = (
        max(5.2, 0.09 * max(map(len, names)) + 0.8 * len(data.bits)),
        1.5 + 0.34 * len(data.rows),
    )
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    top = math.log10(_largest_finite(data))
    rows = [values for _, values in data.rows]
    draw_table(axes, [[(format_increase(v), _color(v, top), BLACK) for v in row] for row in rows])
    for row, column in enumerate(data.chosen):
        if column is not None:
            axes.add_patch(_frame(row, column))
    axes.set_yticks(range(len(names)), names, fontsize=SMALL)
    axes.set_xticks(range(len(data.bits)), [f"{bits:g}" for bits in data.bits])
    more = f"\n... and {data.left_out} more layers" if data.left_out else ""
    axes.set_xlabel(f"weight bits of the layer, all others in float{more}")
    framed = f"; framed: {data.plan}" if data.plan else ""
    figure.suptitle(f"increase of the training loss, before any training{framed}", fontsize=11)
    return figure


def _largest_finite(data: SensitivityData) -> float:
    """The largest finite increase above zero; 1 where there is none."""
    increases = [value for _, row in data.rows for value in row if value and math.isfinite(value)]
    return max(increases, default=1.0)


def _color(increase: float | None, top: float) -> Color:
    """White without a measurement, else darker with each power of ten.

    Args:
        increase: of the loss.
        top: logarithm to base 10 of the largest increase in the table.
    """
    if increase is None:
        return 1.0, 1.0, 1.0, 1.0
    depth = 1 + (math.log10(max(increase, SMALLEST_INCREASE)) - top) / DECADES
    return matplotlib.colormaps["Oranges"](0.04 + 0.6 * min(max(depth, 0.0), 1.0))


def _frame(row: int, column: int) -> Rectangle:
    corner = (column - 0.46, row - 0.42)
    return Rectangle(corner, 0.92, 0.84, fill=False, edgecolor=BLUE, linewidth=2)
