"""The sensitivity figure: how much the loss increases with few bits in one place alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from autoquant.analysis.sensitivity import Sensitivity
from autoquant.figures.labels import outcome_label, shorten
from autoquant.figures.style import BLACK, BLUE, GREY, SMALL, Color, TableCell, draw_table
from autoquant.study.outcome import Outcome

ROW_SUFFIXES = {
    "weight_bits": "",
    "recurrent_bits": ", recurrent",
    "activation_bits": ", input",
    "hidden_bits": ", hidden state",
}
"""What a row's name adds to the layer's, by field of a LayerChoice."""
MOST_DIMENSIONS = 20
"""Rows in the figure; the smaller ones share one row, with their sums."""
NOISE = 2.0
"""Standard errors within which an increase is noise."""
DECADES = 3
"""Powers of ten between the palest and the darkest cell."""
SMALLEST_INCREASE = 1e-30
"""Smaller increases count as this one: zero has no logarithm."""


@dataclass(frozen=True)
class SensitivityRow:
    """A weight, an input or a hidden state.

    Attributes:
        name: of the layer, and what of it.
        increases: of the loss, by column; None where it has no such choice.
        errors: their standard errors; None where none was measured.
        chosen: the column that the chosen plan takes; None where there is no plan.
    """

    name: str
    increases: tuple[float | None, ...]
    errors: tuple[float | None, ...]
    chosen: int | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """What the cells say."""
        return tuple(map(format_increase, self.increases, self.errors))


@dataclass(frozen=True)
class SensitivityData:
    """The increases of the loss as a table.

    Attributes:
        bits: the columns, rising.
        rows: of those with the largest increases, in the model's order; then the sums of the rest.
        plan: the name of the chosen plan; None where there is none.
        others: what bits all other weights and activations have.
    """

    bits: tuple[float, ...]
    rows: tuple[SensitivityRow, ...]
    plan: str | None = None
    others: str = "in float"


def sensitivity_data(
    path: Path, chosen: Outcome | None, most: int = MOST_DIMENSIONS
) -> SensitivityData | None:
    """The sensitivity that a search recorded; None without a record.

    Args:
        path: of the study's ``sensitivity.json``.
        chosen: whose plan is marked, if any.
        most: rows with a place of their own; the others share one, with their sums.

    Raises:
        UserError: the file is not what a search writes.
    """
    if not path.is_file():
        return None
    sensitivity = Sensitivity.read(path)
    names = list(sensitivity.loss_increases)
    if not names:
        return None
    bits = sorted({b for by_bits in sensitivity.loss_increases.values() for b in by_bits})
    ranked = sorted(names, key=lambda name: _rank(sensitivity, name), reverse=True)
    listed = set(ranked[:most])
    rows = {name: _row(sensitivity, name, tuple(bits), chosen) for name in names}
    shown = [rows[name] for name in names if name in listed]
    rest = [rows[name] for name in names if name not in listed]
    return SensitivityData(
        bits=tuple(bits),
        rows=(*shown, _sum_of(rest)) if rest else tuple(shown),
        plan=outcome_label(chosen) if chosen else None,
        others="in float" if sensitivity.reference is None else "with the bits of an even plan",
    )


def _rank(sensitivity: Sensitivity, name: str) -> tuple[float, float]:
    """What rows are ordered by: the increase in the reference, then the largest one."""
    increases, reference = sensitivity.loss_increases[name], sensitivity.reference
    largest = max(increases.values())
    layer, field = name.rsplit(".", 1)
    if reference is None or layer not in reference.choices:
        return largest, largest
    return increases.get(reference[layer].bits_in(field), 0.0), largest


def _row(
    sensitivity: Sensitivity, name: str, bits: tuple[float, ...], chosen: Outcome | None
) -> SensitivityRow:
    """The row of a dimension.

    Args:
        sensitivity: of all dimensions.
        name: of the dimension: a layer and a field, joined by a dot.
        bits: the columns.
        chosen: whose plan is marked, if any.
    """
    layer, field = name.rsplit(".", 1)
    errors = sensitivity.deviations.get(name, {})
    return SensitivityRow(
        name=shorten(layer) + ROW_SUFFIXES[field],
        increases=tuple(sensitivity.loss_increases[name].get(b) for b in bits),
        errors=tuple(errors.get(b) for b in bits),
        chosen=_chosen_column(chosen, name, bits),
    )


def _sum_of(rows: Sequence[SensitivityRow]) -> SensitivityRow:
    """One row with the sums of several; the errors are independent.

    Args:
        rows: of one table.
    """

    def total(column: Sequence[float | None], power: int = 1) -> float | None:
        values = [value**power for value in column if value is not None]
        return math.pow(sum(values), 1 / power) if values else None

    increases = zip(*(row.increases for row in rows), strict=True)
    errors = zip(*(row.errors for row in rows), strict=True)
    return SensitivityRow(
        name=f"sum of {len(rows)} others",
        increases=tuple(total(column) for column in increases),
        errors=tuple(total(column, 2) for column in errors),
    )


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
    chosen_bits = chosen.plan[layer].bits_in(field)
    return bits.index(chosen_bits) if chosen_bits in bits else None


def is_noise(increase: float, error: float | None) -> bool:
    """Whether an increase is within NOISE standard errors.

    Args:
        increase: of the loss; not infinite.
        error: its standard error; None where none was measured.
    """
    return error is not None and increase <= NOISE * error


def format_increase(increase: float | None, error: float | None = None) -> str:
    """An increase of the loss for people, with its standard error.

    Args:
        increase: infinite where the loss was not a number; None where none was measured.
        error: its standard error; None where none was measured.

    >>> format_increase(0.01234), format_increase(0.00002)
    ('0.012', '<0.001')
    >>> format_increase(0.01234, 0.002), format_increase(0.01234, 0.01)
    ('0.012 ±0.002', 'noise')
    >>> format_increase(float("inf")), format_increase(None)
    ('nan', '')
    """
    if increase is None:
        return ""
    if math.isinf(increase):
        return "nan"
    if is_noise(increase, error):
        return "noise"
    text = "<0.001" if increase < 0.001 else f"{increase:.2g}"
    return text if not error or increase < 0.001 else f"{text} ±{error:.1g}"


def draw_sensitivity(data: SensitivityData) -> Figure:
    """A table in colour, darker where the loss increases more; the chosen plan is framed.

    Args:
        data: the table.
    """
    names = [row.name for row in data.rows]
    widest = max(len(text) for row in data.rows for text in row.texts)
    size = (
        max(5.2, 0.09 * max(map(len, names)) + (0.3 + 0.075 * widest) * len(data.bits)),
        1.5 + 0.34 * len(data.rows),
    )
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    top = math.log10(_largest_finite(data))
    draw_table(axes, [_cells(row, top) for row in data.rows])
    for number, row in enumerate(data.rows):
        if row.chosen is not None:
            axes.add_patch(_frame(number, row.chosen))
    axes.set_yticks(range(len(names)), names, fontsize=SMALL)
    axes.set_xticks(range(len(data.bits)), [f"{bits:g}" for bits in data.bits])
    axes.set_xlabel(f"bits, all others {data.others}")
    framed = f"; framed: {data.plan}" if data.plan else ""
    figure.suptitle(f"increase of the training loss, before any training{framed}", fontsize=11)
    return figure


def _cells(row: SensitivityRow, top: float) -> list[TableCell]:
    """A row's texts and colours.

    Args:
        row: of the table.
        top: logarithm to base 10 of the largest increase in the table.
    """
    noise = [
        v is not None and is_noise(v, e) for v, e in zip(row.increases, row.errors, strict=True)
    ]
    shown = [None if hidden else v for v, hidden in zip(row.increases, noise, strict=True)]
    colors = [GREY if hidden else BLACK for hidden in noise]
    return [
        (text, _color(value, top), color)
        for text, value, color in zip(row.texts, shown, colors, strict=True)
    ]


def _largest_finite(data: SensitivityData) -> float:
    """The largest finite increase above zero; 1 where there is none."""
    values = [value for row in data.rows for value in row.increases]
    return max((value for value in values if value and math.isfinite(value)), default=1.0)


def _color(increase: float | None, top: float) -> Color:
    """White without a measurement and for noise, else darker with each power of ten.

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
