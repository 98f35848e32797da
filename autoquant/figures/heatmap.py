"""The heat maps of a sweep: its scores as tables in colour."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from autoquant.figures.color_scale import WHITE, draw_color_bar, shade
from autoquant.figures.labels import common_decimals, format_score, format_width
from autoquant.figures.page import MARGIN, PAGE, POINTS, Page
from autoquant.figures.score_view import ScoreView, view_of
from autoquant.figures.style import (
    BLACK,
    VALIDATION,
    Color,
    better,
    draw_table,
    float_model_label,
)
from autoquant.figures.sweep_data import SweepData, SweptPlan, sorted_unique
from autoquant.figures.ticks import LOG_SCALE, log_ticks, use_log_ticks
from autoquant.study.baseline_record import BaselineRecord
from autoquant.study.reference_name import WHERE_ALLOWED
from autoquant.task import Direction

CELL_CHARACTERS, NAME_CHARACTERS = 8, 8
"""Widths of a cell, at least, and of what stands on the left of a table."""
LINE_HEIGHT = 1.4
"""Of a line in a cell, over the size of its font."""
_PARTLY = f"weight bits {WHERE_ALLOWED}"
PlansByCell = Mapping[tuple[float | None, int | None], SweptPlan]
"""Plans by their row (weight bits or width) and their column (activation bits)."""


@dataclass(frozen=True)
class HeatmapCell:
    """A plan in a heat map.

    Attributes:
        text: its score, or how it ended; empty where it has not been trained yet.
        badness: where its score lies in the view, from 0 (best) to 1; None where there is none.
    """

    text: str = ""
    badness: float | None = None


@dataclass(frozen=True)
class Heatmap:
    """One table: of a width or a budget. Its columns are activation bits.

    Attributes:
        title: which width or budget.
        row_axis: what its rows are: "weight bits" or "width"; it says so where rules leave some
            layers other bits.
        rows: names of the rows, from top to bottom.
        columns: names of the columns, from left to right.
        cells: by row and column.
    """

    title: str
    row_axis: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[HeatmapCell, ...], ...]


@dataclass(frozen=True)
class HeatmapData:
    """Everything in the figure.

    Attributes:
        baseline: the float model.
        heatmaps: one for each width of uniform plans, then one for each budget.
        seeds: the most seeds that a cell is the mean of.
        view: the scores from the palest to the darkest colour.
    """

    baseline: BaselineRecord
    heatmaps: tuple[Heatmap, ...]
    seeds: int
    view: ScoreView


@dataclass(frozen=True)
class _Shading:
    """How scores become shades and texts: the same in all heat maps of a figure.

    Attributes:
        view: the scores from palest to darkest.
        direction: which scores are good.
        decimals: of the texts.
    """

    view: ScoreView
    direction: Direction
    decimals: int

    def cell(self, plan: SweptPlan | None) -> HeatmapCell:
        """The cell of a plan; empty where there is none.

        Args:
            plan: of the cell, if one was trained.
        """
        if plan is None:
            return HeatmapCell()
        shade = badness(plan.score, self.view, self.direction) if plan.scores else None
        return HeatmapCell(plan.text(self.decimals), shade)


def heatmap_data(data: SweepData) -> HeatmapData | None:
    """The plans of a sweep as tables, those of plan files left out; None where none has a score.

    Args:
        data: of the sweep.
    """
    plans = [plan for plan in data.plans if plan.activation_bits is not None]
    scores = [plan.score for plan in plans if plan.scores]
    if not scores:
        return None
    base = data.baseline
    view = view_of(scores, base.direction, [base.score])
    shading = _Shading(view, base.direction, common_decimals(scores))
    uniform = [plan for plan in plans if plan.budget is None]
    heatmaps = [
        _of_width(width, [plan for plan in of_init if plan.width == width], shading)
        for of_init in _grouped(uniform, lambda plan: plan.init_label)
        for width in sorted_unique(plan.width for plan in of_init)
    ]
    filling = [plan for plan in plans if plan.budget is not None]
    heatmaps += [
        _of_budget(of_budget, shading)
        for of_budget in _grouped(filling, lambda plan: (plan.budget, plan.init_label))
    ]
    return HeatmapData(base, tuple(heatmaps), data.seeds, view)


def _grouped(
    plans: Sequence[SweptPlan], key: Callable[[SweptPlan], Hashable]
) -> list[list[SweptPlan]]:
    """Plans with equal keys together, in the order in which the keys appear first."""
    groups: dict[Hashable, list[SweptPlan]] = {}
    for plan in plans:
        groups.setdefault(key(plan), []).append(plan)
    return list(groups.values())


def _of_width(width: float, plans: Sequence[SweptPlan], shading: _Shading) -> Heatmap:
    """Weight bits by activation bits, of uniform plans of one width; most bits first.

    Args:
        width: of the plans.
        plans: that begin with the same weights.
        shading: of the scores.
    """
    by_cell = {(plan.weight_bits, plan.activation_bits): plan for plan in plans}
    rows = {bits: f"{bits:g}" for bits in sorted_unique(bits for bits, _ in by_cell)[::-1]}
    title = f"width {format_width(width)}{plans[0].init_label}"
    axis = "weight bits" if all(plan.is_uniform for plan in plans) else _PARTLY
    return _heatmap(title, axis, rows, by_cell, shading)


def _of_budget(plans: Sequence[SweptPlan], shading: _Shading) -> Heatmap:
    """Width by activation bits, of plans that fill one budget; narrowest first."""
    by_cell = {(plan.width, plan.activation_bits): plan for plan in plans}
    rows = {width: format_width(width) for width in sorted_unique(width for width, _ in by_cell)}
    title = f"budget {plans[0].budget}{plans[0].init_label}"
    return _heatmap(title, "width", rows, by_cell, shading)


def _heatmap(
    title: str,
    row_axis: str,
    rows: Mapping[float, str],
    by_cell: PlansByCell,
    shading: _Shading,
) -> Heatmap:
    """One table.

    Args:
        title: which width or budget.
        row_axis: what the rows are.
        rows: weight bits or widths with their names, from top to bottom.
        by_cell: plans by row and activation bits.
        shading: of the scores.
    """
    columns = [int(bits) for bits in sorted_unique(bits for _, bits in by_cell)][::-1]
    cells = tuple(tuple(shading.cell(by_cell.get((row, bits))) for bits in columns) for row in rows)
    return Heatmap(title, row_axis, tuple(rows.values()), tuple(map(str, columns)), cells)


def badness(score: float, view: ScoreView, direction: Direction) -> float:
    """Where a score lies in a view, from 0 (best) to 1 (worst, or beyond it).

    Args:
        score: in the metric's unit.
        view: part of the score axis.
        direction: which scores are good.

    >>> badness(15.0, ScoreView(10.0, 20.0, False, 0), "minimize")
    0.5
    """
    low, high, value = view.low, view.high, min(max(score, view.low), view.high)
    if view.log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    position = (value - low) / (high - low)
    return position if direction == "minimize" else 1 - position


# --- drawing -------------------------------------------------------------------------------------


def draw_heatmap(data: HeatmapData, page: Page = PAGE) -> Figure:
    """The tables, side by side as far as the page is wide, and the scale of their colours.

    Args:
        data: the tables.
        page: that the figure is for.
    """
    side_by_side = _side_by_side(data.heatmaps, page)
    row_count = math.ceil(len(data.heatmaps) / side_by_side)
    cells = [cell for heatmap in data.heatmaps for row in heatmap.cells for cell in row]
    lines = max(cell.text.count("\n") + 1 for cell in cells)
    most_rows = max(len(heatmap.rows) for heatmap in data.heatmaps)
    line = page.small / POINTS
    height = most_rows * line * (LINE_HEIGHT * lines + 0.8) + 7.5 * line
    figure = page.figure(row_count * height + (9 if page.is_narrow else 5) * line)
    widths = [len(heatmap.columns) for heatmap in data.heatmaps[:side_by_side]]
    grid = figure.subplots(row_count, side_by_side, squeeze=False, width_ratios=widths)
    panels = [*grid.flat]
    for axes in panels[len(data.heatmaps) :]:
        axes.set_visible(False)
    for axes, heatmap in zip(panels, data.heatmaps, strict=False):
        _draw_one(axes, heatmap)
    _draw_bar(figure, panels, data, page)
    page.title(figure, _title(data))
    return figure


def _side_by_side(heatmaps: Sequence[Heatmap], page: Page) -> int:
    """How many tables stand in a row; the rows are of almost equal length."""
    most = max(len(heatmap.columns) for heatmap in heatmaps)
    room = page.characters(MARGIN * page.width, page.small)
    fitting = max(1, room // (CELL_CHARACTERS * most + NAME_CHARACTERS))
    return math.ceil(len(heatmaps) / math.ceil(len(heatmaps) / fitting))


def _draw_bar(figure: Figure, panels: Sequence[Axes], data: HeatmapData, page: Page) -> None:
    """The scale of the colours.

    Args:
        figure: of the tables.
        panels: the tables.
        data: of them.
        page: of the figure.
    """
    view, base = data.view, data.baseline
    beyond = {"minimize": "max", "maximize": "min"}[base.direction]
    scale = f" {LOG_SCALE}" if view.log else ""
    bar = draw_color_bar(
        figure,
        panels,
        page,
        f"{base.metric}{scale}\ndarker is worse",
        (view.low, view.high),
        log=view.log,
        dark_is_low=base.direction == "maximize",
        extend=beyond if view.beyond else "neither",
    )
    if view.log:
        ticks = log_ticks(view.low, view.high)
        axis = bar.ax.xaxis if page.is_narrow else bar.ax.yaxis
        use_log_ticks(axis, ticks, [format_score(tick) for tick in ticks])


def _title(data: HeatmapData) -> str:
    base = data.baseline
    seeds = f", mean ± deviation of {data.seeds} seeds" if data.seeds > 1 else ""
    first = f"{base.metric} {VALIDATION} ({better(base)} is better){seeds}"
    return f"{first}\n{float_model_label(base)}"


def _draw_one(axes: Axes, heatmap: Heatmap) -> None:
    rows = [[(cell.text, _color(cell), BLACK) for cell in row] for row in heatmap.cells]
    draw_table(axes, rows)
    axes.set_title(heatmap.title, fontsize="medium")
    axes.set_xticks(range(len(heatmap.columns)), heatmap.columns)
    axes.set_yticks(range(len(heatmap.rows)), heatmap.rows)
    axes.set_xlabel("activation bits")
    axes.set_ylabel(heatmap.row_axis.replace(f" {WHERE_ALLOWED}", f"\n{WHERE_ALLOWED}"))


def _color(cell: HeatmapCell) -> Color:
    """Good scores are pale, bad ones dark; a plan without a score is grey, and no plan white."""
    if cell.badness is not None:
        return shade(cell.badness)
    return matplotlib.colormaps["Greys"](0.12) if cell.text else WHITE
