"""The sensitivity figure: how much the loss increases with few bits in one place alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from autoquant.analysis.sensitivity import Sensitivity
from autoquant.figures.color_scale import WHITE, draw_color_bar, shade
from autoquant.figures.labels import outcome_label, shorten, with_decimals
from autoquant.figures.page import PAGE, POINTS, SMALL, Page
from autoquant.figures.style import BLACK, BLUE, GREY, Color, TableCell, draw_table
from autoquant.figures.ticks import LOG_SCALE, log_ticks, use_log_ticks
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
"""Powers of ten that texts and colours tell apart, up to that of the largest increase."""
TINY = 1e-30
"""What an increase of 0 is written as: it may be smaller than the numbers can show."""
NARROW_NAMES = 20
"""Most characters of a row's name on a narrow page."""
BAR_CHARACTERS = 12
"""Room of the colour bar and of margins, in characters of the page."""
NO_DIFFERENCE = "≈0"
"""Of noise, where cells are narrow."""


@dataclass(frozen=True)
class SensitivityRow:
    """A weight, an input or a hidden state.

    Attributes:
        name: of the layer, and what of it.
        increases: of the loss, by column; None where it has no such choice.
        errors: their standard errors; None where none was measured.
        chosen: the column that the chosen plan takes; None where there is no plan.
        decimals: of the texts.
    """

    name: str
    increases: tuple[float | None, ...]
    errors: tuple[float | None, ...]
    chosen: int | None = None
    decimals: int = 3

    @property
    def texts(self) -> tuple[str, ...]:
        """What the cells say."""
        return tuple(
            format_increase(increase, error, self.decimals)
            for increase, error in zip(self.increases, self.errors, strict=True)
        )


@dataclass(frozen=True)
class SensitivityData:
    """The increases of the loss as a table.

    Attributes:
        bits: the columns, rising.
        rows: of those with the largest increases, in the model's order; then the sums of the rest.
        plan: the name of the chosen plan; None where there is none.
        others: what bits all other weights and activations have.
        decimals: of the texts; smaller increases have the palest colour.
    """

    bits: tuple[float, ...]
    rows: tuple[SensitivityRow, ...]
    plan: str | None = None
    others: str = "in float"
    decimals: int = 3

    @property
    def smallest(self) -> float:
        """The smallest increase that the texts tell from none."""
        return 10.0**-self.decimals

    @property
    def largest(self) -> float:
        """The largest finite increase, at least ten times the smallest one."""
        return max(10 * self.smallest, _largest_finite(self.rows))


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
    listed_rows = [*shown, _sum_of(rest)] if rest else shown
    decimals = max(0, DECADES - 1 - math.floor(math.log10(_largest_finite(listed_rows))))
    return SensitivityData(
        bits=tuple(bits),
        rows=tuple(replace(row, decimals=decimals) for row in listed_rows),
        plan=outcome_label(chosen) if chosen else None,
        others="in float" if sensitivity.reference is None else "with the bits of an even plan",
        decimals=decimals,
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


def format_increase(increase: float | None, error: float | None = None, decimals: int = 3) -> str:
    """An increase of the loss for people, with its standard error.

    Args:
        increase: infinite where the loss was not a number; None where none was measured.
        error: its standard error; None where none was measured.
        decimals: of both.

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
    text = with_decimals(increase or TINY, decimals)
    return text if not error or text.startswith("<") else f"{text} ±{error:.{decimals}f}"


def _largest_finite(rows: Sequence[SensitivityRow]) -> float:
    """The largest finite increase above zero; 1 where there is none."""
    values = [value for row in rows for value in row.increases]
    return max((value for value in values if value and math.isfinite(value)), default=1.0)


# --- drawing -------------------------------------------------------------------------------------


def draw_sensitivity(data: SensitivityData, page: Page = PAGE) -> Figure:
    """A table in colour, darker where the loss increases more; the chosen plan is framed.

    Args:
        data: the table.
        page: that the figure is for.
    """
    short = page.is_narrow or not _fits(data, page)
    names = [shorten(row.name, NARROW_NAMES) if page.is_narrow else row.name for row in data.rows]
    texts = [_texts(row, short=short) for row in data.rows]
    lines = 1 + max(text.count("\n") for row in texts for text in row)
    line = page.small / POINTS
    figure = page.figure(
        (1.4 * lines + 0.8) * line * len(names) + (16 if page.is_narrow else 9) * line
    )
    axes = figure.add_subplot()
    draw_table(
        axes,
        [_cells(row, row_texts, data) for row, row_texts in zip(data.rows, texts, strict=True)],
    )
    for number, row in enumerate(data.rows):
        if row.chosen is not None:
            axes.add_patch(_frame(number, row.chosen))
    axes.set_yticks(range(len(names)), names, fontsize=SMALL)
    axes.set_xticks(range(len(data.bits)), [f"{bits:g}" for bits in data.bits])
    page.x_label(axes, f"bits, all others {data.others}")
    _draw_bar(figure, axes, data, page)
    framed = f"; framed: {data.plan}" if data.plan else ""
    unit = f"\nin units of {data.smallest:g}; {NO_DIFFERENCE}: within the noise"
    title = f"increase of the training loss, before any training{framed}"
    page.title(figure, title + (unit if short else ""))
    return figure


def _fits(data: SensitivityData, page: Page) -> bool:
    """Whether numbers with their errors below them have room side by side.

    Args:
        data: the table.
        page: of the figure.
    """
    widest = max(len(line) for row in data.rows for text in row.texts for line in text.split(" "))
    names = max(len(row.name) for row in data.rows)
    needed = names + BAR_CHARACTERS + (widest + 1) * len(data.bits)
    return needed <= page.characters(page.width, page.small)


def _texts(row: SensitivityRow, *, short: bool) -> list[str]:
    """What the cells of a row say.

    Args:
        row: of the table.
        short: whether it is whole numbers without errors.
    """
    if not short:
        return [text.replace(" ", "\n") for text in row.texts]
    factor, signs = 10**row.decimals, {"noise": NO_DIFFERENCE}
    return [
        f"{factor * value:.0f}"
        if value is not None and text[0].isdigit()
        else "<1"
        if text.startswith("<")
        else signs.get(text, text)
        for value, text in zip(row.increases, row.texts, strict=True)
    ]


def _cells(row: SensitivityRow, texts: Sequence[str], data: SensitivityData) -> list[TableCell]:
    """A row's texts and colours.

    Args:
        row: of the table.
        texts: of the row.
        data: of the table.
    """
    noise = [
        v is not None and is_noise(v, e) for v, e in zip(row.increases, row.errors, strict=True)
    ]
    return [
        (text, WHITE if hidden else _color(value, data), GREY if hidden else BLACK)
        for text, value, hidden in zip(texts, row.increases, noise, strict=True)
    ]


def _color(increase: float | None, data: SensitivityData) -> Color:
    """White without a measurement, else darker with the logarithm of what the cell says.

    Args:
        increase: of the loss.
        data: of the table.
    """
    if increase is None:
        return WHITE
    said = max(
        data.smallest, round(increase, data.decimals) if math.isfinite(increase) else increase
    )
    return shade(math.log(said / data.smallest) / math.log(data.largest / data.smallest))


def _draw_bar(figure: Figure, axes: Axes, data: SensitivityData, page: Page) -> None:
    """The scale of the colours.

    Args:
        figure: of the table.
        axes: the table.
        data: of the table.
        page: of the figure.
    """
    increases = [value for row in data.rows for value in row.increases if value is not None]
    beyond = any(map(math.isinf, increases))
    label = f"increase of the loss {LOG_SCALE}\ndarker is worse"
    ends = data.smallest, data.largest
    bar = draw_color_bar(
        figure, [axes], page, label, ends, log=True, extend="both" if beyond else "min"
    )
    ticks = log_ticks(*ends)
    axis = bar.ax.xaxis if page.is_narrow else bar.ax.yaxis
    use_log_ticks(axis, ticks, [f"{tick:g}" for tick in ticks])


def _frame(row: int, column: int) -> Rectangle:
    corner = (column - 0.46, row - 0.42)
    return Rectangle(corner, 0.92, 0.84, fill=False, edgecolor=BLUE, linewidth=2)
