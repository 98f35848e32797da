"""The plan figure: what the chosen plan decides, and what it makes of each layer's bytes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from autoquant.budget import readable
from autoquant.figures.color_scale import WHITE
from autoquant.figures.labels import format_width, outcome_label, shorten, with_decimals
from autoquant.figures.layer_bytes import NO_BYTES, LayerBytes, PlanBytes
from autoquant.figures.page import PAGE, POINTS, SMALL, Page
from autoquant.figures.style import BLACK, GREY, PALE, Color, TableCell, draw_table
from autoquant.figures.ticks import byte_unit
from autoquant.plan import LayerChoice
from autoquant.study.outcome import Outcome

MOST_ROWS = 20
"""Layers in the figure; the smaller ones share one row."""
COLUMNS = ("weight_bits", "recurrent_bits", "activation_bits", "hidden_bits", "width")
SIZE_COLUMNS = 3
"""Bytes before and after, and the share of the file."""
NARROW_NAMES = 16
"""Most characters of a layer's name on a narrow page."""
ROW_HEIGHT = 2.2
"""Over the size of the font."""
DARK = 1.5
"""Sum of red, green and blue below which a text is written in white."""

Span = tuple[float, float]
"""The least and the largest value of some layers."""


@dataclass(frozen=True)
class PlanRow:
    """A row of the table: a layer, several together, or what is of no layer.

    Attributes:
        name: of the layer.
        values: the least and the largest in each column; None without bits of its own.
        size: its bytes, where they are known.
    """

    name: str
    values: tuple[Span | None, ...]
    size: LayerBytes | None = None


@dataclass(frozen=True)
class PlanData:
    """The chosen plan as a table, in the model's order.

    Attributes:
        title: which plan it is.
        columns: those of COLUMNS in which any layer has a value.
        rows: of at most MOST_ROWS layers, and of the others together; where bytes are known, also
            of everything else and of the total.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[PlanRow, ...]

    @property
    def total(self) -> LayerBytes | None:
        """Bytes of the float model and of the file, where they are known."""
        return self.rows[-1].size


def plan_data(chosen: Outcome, sizes: PlanBytes | None = None) -> PlanData:
    """The choices of a plan as a table.

    Args:
        chosen: the outcome whose plan is shown.
        sizes: bytes of its layers, where they are known; then the layers that are largest in the
            float model have rows of their own, else the first ones.
    """
    choices = chosen.plan.choices
    columns = tuple(
        column
        for column in COLUMNS
        if any(getattr(choice, column) is not None for choice in choices.values())
    )
    names = [*choices]
    if sizes is not None:
        names.sort(key=lambda name: -sizes.layers[name].before)
    listed = {*names[:MOST_ROWS]}
    groups = [(shorten(name), [name]) for name in choices if name in listed]
    if others := names[MOST_ROWS:]:
        groups.append((f"{len(others)} other layers", others))
    rows = [
        _row(
            text,
            [choices[name] for name in group],
            columns,
            None if sizes is None else sum((sizes.layers[name] for name in group), NO_BYTES),
        )
        for text, group in groups
    ]
    if sizes is not None:
        nothing = PlanRow("everything else", (None,) * len(columns), sizes.outside)
        rows += [nothing, replace(nothing, name="total", size=sizes.total)]
    share = f" ({sizes.total.after / sizes.total.before:.3g}x)" if sizes else ""
    title = f"chosen plan: {outcome_label(chosen)}, {readable(chosen.size_bytes)}{share}"
    return PlanData(title, columns, tuple(rows))


def _row(
    name: str, choices: Iterable[LayerChoice], columns: Sequence[str], size: LayerBytes | None
) -> PlanRow:
    """A row of one layer or several.

    Args:
        name: of the row.
        choices: of the layers.
        columns: of the table.
        size: bytes of the layers, where they are known.
    """
    listed, values = [*choices], []
    for column in columns:
        found = [getattr(choice, column) for choice in listed]
        known = [value for value in found if value is not None]
        values.append((min(known), max(known)) if known else None)
    return PlanRow(name, tuple(values), size)


def choice_cell(column: str, value: Span | None) -> tuple[str, Color]:
    """Text and colour of choices: more bits are bluer, more width is more orange.

    Args:
        column: one of COLUMNS.
        value: the least and the largest bits or width; None without such a choice.

    >>> choice_cell("width", (1.25, 1.25))[0], choice_cell("weight_bits", (2, 32))[0]
    ('x1.25', '2 - float')
    >>> choice_cell("hidden_bits", None)[0]
    ''
    """
    if value is None:
        return "", WHITE
    texts = dict.fromkeys(_choice_text(column, each) for each in value)
    return " - ".join(texts), _choice_color(column, value[1])


def _choice_text(column: str, value: float) -> str:
    if column == "width":
        return format_width(value)
    return "float" if value == 32 else f"{value:g}"


def _choice_color(column: str, value: float) -> Color:
    maps = matplotlib.colormaps
    if column == "width":
        return maps["Oranges"](min(0.35 * math.sqrt(value - 1), 0.6))
    return maps["Greys"](0.2) if value > 8 else maps["Blues"](0.08 + 0.09 * value)


# --- drawing -------------------------------------------------------------------------------------


def draw_plan(data: PlanData, page: Page = PAGE) -> Figure:
    """A table with a coloured cell for every choice, and the bytes beside it.

    Args:
        data: the plan as a table.
        page: that the figure is for.
    """
    names = [shorten(row.name, NARROW_NAMES) if page.is_narrow else row.name for row in data.rows]
    line = page.small / POINTS
    figure = page.figure(line * (ROW_HEIGHT * len(names) + (8 if page.is_narrow else 4)))
    axes = figure.add_subplot()
    draw_table(axes, [_cells(data, row) for row in data.rows], column_gap=3)
    axes.set_yticks(range(len(names)), names, fontsize=SMALL)
    titles = [column.replace("_", "\n") for column in data.columns]
    rotation = 90 if page.is_narrow else 0
    if data.total is not None:
        unit, _ = byte_unit(data.total.before)
        titles += [f"float\n{unit}", f"packed\n{unit}", "% of\nthe file"]
        _draw_shares(axes, data, data.total)
    axes.set_xticks(range(len(titles)), titles, fontsize=SMALL, rotation=rotation)
    axes.tick_params(labeltop=True, labelbottom=False)
    page.title(figure, data.title)
    return figure


def _draw_shares(axes: Axes, data: PlanData, total: LayerBytes) -> None:
    """A bar behind each share of the file, and a line above the total.

    Args:
        axes: of the table.
        data: of the table.
        total: bytes of the whole.
    """
    left = len(data.columns) + SIZE_COLUMNS - 1 - 0.45
    for number, row in enumerate(data.rows[:-1]):
        if row.size is not None:
            length = 0.9 * row.size.after / total.after
            bar = Rectangle((left, number - 0.36), length, 0.72, color=PALE, lw=0, zorder=1.5)
            axes.add_patch(bar)
    last = len(data.rows) - 1.5
    axes.plot([-0.5, left + 0.95], [last, last], color=GREY, lw=0.8)


def _cells(data: PlanData, row: PlanRow) -> list[TableCell]:
    """Text, background and text colour of every cell of a row.

    Args:
        data: of the table.
        row: of it.
    """
    choices = [choice_cell(c, v) for c, v in zip(data.columns, row.values, strict=True)]
    cells = [(text, color, _text_color(color)) for text, color in choices]
    if data.total is not None and row.size is not None:
        _, factor = byte_unit(data.total.before)
        decimals = max(0, 3 - math.floor(math.log10(data.total.before / factor)))
        share = 100 * row.size.after / data.total.after
        sizes = (row.size.before / factor, row.size.after / factor)
        texts = [*(with_decimals(size, decimals) for size in sizes), with_decimals(share, 1)]
        cells += [(text, WHITE, BLACK) for text in texts]
    return cells


def _text_color(background: Color) -> str:
    return "white" if sum(background[:3]) < DARK else BLACK
