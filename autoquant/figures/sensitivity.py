"""The sensitivity figure: how much the loss rises when one layer alone has few bits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from autoquant.analysis.sensitivity import Sensitivity
from autoquant.figures.plan_table import MOST_ROWS
from autoquant.figures.study_data import label_of, shortened
from autoquant.figures.style import BLACK, BLUE, SMALL, draw_tiles
from autoquant.study.outcome import Outcome

FIELDS = {"weight_bits": "", "recurrent_bits": ", recurrent"}  # as rows name them
DECADES = 3  # powers of ten between the palest and the darkest cell


@dataclass(frozen=True)
class RiseData:
    """The rises of the loss as a table, in the model's order.

    Attributes:
        bits: the columns, rising.
        rows: a layer's name, and its rises; None where it has no such choice.
        chosen: for each row, the column that the chosen plan takes; None where there is no plan.
        plan: the name of that plan.
        left_out: rows beyond the first MOST_ROWS.
    """

    bits: tuple[float, ...]
    rows: tuple[tuple[str, tuple[float | None, ...]], ...]
    chosen: tuple[int | None, ...]
    plan: str | None = None
    left_out: int = 0


def sensitivity_data(path: Path, chosen: Outcome | None) -> RiseData | None:
    """The sensitivity that a search recorded; None without a record.

    Raises:
        UserError: the file is not what a search writes.
    """
    if not path.is_file():
        return None
    read = Sensitivity.read(path).rises
    named = {_name(name): name for name in list(read)[:MOST_ROWS]}
    bits = tuple(sorted({each for rise in read.values() for each in rise}))
    rows = tuple((row, tuple(read[name].get(b) for b in bits)) for row, name in named.items())
    marked = tuple(_column(chosen, name, bits) for name in named.values())
    plan = label_of(chosen) if chosen else None
    return RiseData(bits, rows, marked, plan, len(read) - len(rows)) if rows else None


def _name(dimension: str) -> str:
    layer, field = dimension.rsplit(".", 1)
    return shortened(layer) + FIELDS[field]


def _column(chosen: Outcome | None, dimension: str, bits: tuple[float, ...]) -> int | None:
    layer, field = dimension.rsplit(".", 1)
    if chosen is None or layer not in chosen.plan.choices:
        return None
    choice = chosen.plan[layer]
    own = choice.bits_of("recurrent") if field == "recurrent_bits" else choice.weight_bits
    return bits.index(own) if own in bits else None


def text_of(rise: float | None) -> str:
    """A rise for people.

    >>> text_of(0.01234), text_of(0.00002), text_of(float("inf")), text_of(None)
    ('0.012', '<0.001', 'nan', '')
    """
    if rise is None:
        return ""
    return "nan" if math.isinf(rise) else "<0.001" if rise < 0.001 else f"{rise:.2g}"


def draw_sensitivity(data: RiseData) -> Figure:
    """A table in colour, darker where the loss rises more; the chosen plan is framed."""
    count, wide = len(data.rows), len(data.bits)
    names = [name for name, _ in data.rows]
    size = (max(5.2, 0.09 * max(map(len, names)) + 0.8 * wide), 1.5 + 0.34 * count)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    rises = [rise for _, row in data.rows for rise in row if rise and math.isfinite(rise)]
    top = math.log10(max(rises, default=1.0))
    draw_tiles(axes, [[(text_of(r), _color(r, top), BLACK) for r in row] for _, row in data.rows])
    for row, column in enumerate(data.chosen):
        if column is not None:
            axes.add_patch(_frame(row, column))
    axes.set_yticks(range(count), names, fontsize=SMALL)
    axes.set_xticks(range(wide), [f"{bits:g}" for bits in data.bits])
    more = f"\n... and {data.left_out} more layers" if data.left_out else ""
    axes.set_xlabel(f"weight bits of the layer, all others in float{more}")
    framed = f"; framed: {data.plan}" if data.plan else ""
    figure.suptitle(f"rise of the training loss, before any training{framed}", fontsize=11)
    return figure


def _color(rise: float | None, top: float) -> tuple[float, ...]:
    maps = matplotlib.colormaps
    if rise is None:
        return 1.0, 1.0, 1.0, 1.0
    at = 1 + (math.log10(max(rise, 1e-30)) - top) / DECADES
    return maps["Oranges"](0.04 + 0.6 * min(max(at, 0.0), 1.0))


def _frame(row: int, column: int) -> Rectangle:
    corner = (column - 0.46, row - 0.42)
    return Rectangle(corner, 0.92, 0.84, fill=False, edgecolor=BLUE, linewidth=2)
