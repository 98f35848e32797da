"""The heat maps of a sweep: its scores as tables in colour."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from autoquant.figures.labels import format_width
from autoquant.figures.score_view import ScoreView, view_of
from autoquant.figures.style import BLACK, Color, better, draw_table, float_model_label
from autoquant.figures.sweep_data import SweepData, SweptPlan, sorted_unique
from autoquant.study.baseline_record import BaselineRecord
from autoquant.task import Direction

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
        row_axis: what its rows are: "weight bits" or "width".
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
    """

    baseline: BaselineRecord
    heatmaps: tuple[Heatmap, ...]
    seeds: int


@dataclass(frozen=True)
class _Shading:
    """How scores become shades: the same in all heat maps of a figure.

    Attributes:
        view: the scores from palest to darkest.
        direction: which scores are good.
    """

    view: ScoreView
    direction: Direction

    def cell(self, plan: SweptPlan | None) -> HeatmapCell:
        """The cell of a plan; empty where there is none.

        Args:
            plan: of the cell, if one was trained.
        """
        if plan is None:
            return HeatmapCell()
        shade = badness(plan.score, self.view, self.direction) if plan.scores else None
        return HeatmapCell(plan.text, shade)


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
    shading = _Shading(view_of(scores, base.direction, [base.score]), base.direction)
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
    return HeatmapData(base, tuple(heatmaps), data.seeds)


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
    return _heatmap(title, "weight bits", rows, by_cell, shading)


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


def draw_heatmap(data: HeatmapData) -> Figure:
    """The tables side by side.

    Args:
        data: the tables.
    """
    column_counts = [len(heatmap.columns) for heatmap in data.heatmaps]
    most_rows = max(len(heatmap.rows) for heatmap in data.heatmaps)
    width = max(5.6, 0.6 + 1.0 * sum(column_counts) + 0.8 * len(column_counts))
    figure = Figure(figsize=(width, 1.8 + 0.6 * most_rows), layout="constrained")
    row = figure.subplots(1, len(column_counts), squeeze=False, width_ratios=column_counts)[0]
    for axes, heatmap in zip(row, data.heatmaps, strict=True):
        _draw_one(axes, heatmap)
    figure.suptitle(_title(data), fontsize=11)
    return figure


def _title(data: HeatmapData) -> str:
    base = data.baseline
    seeds = f", mean ± deviation of {data.seeds} seeds" if data.seeds > 1 else ""
    first = f"{base.metric} ({better(base)} is better), validation split{seeds}"
    return f"{first}\n{float_model_label(base)}"


def _draw_one(axes: Axes, heatmap: Heatmap) -> None:
    rows = [[(cell.text, _color(cell.badness), BLACK) for cell in row] for row in heatmap.cells]
    draw_table(axes, rows)
    axes.set_title(heatmap.title, fontsize=10)
    axes.set_xticks(range(len(heatmap.columns)), heatmap.columns)
    axes.set_yticks(range(len(heatmap.rows)), heatmap.rows)
    axes.set_xlabel("activation bits")
    axes.set_ylabel(heatmap.row_axis)


def _color(badness: float | None) -> Color:
    """Good scores are pale, bad ones orange, and what has no score is grey."""
    maps = matplotlib.colormaps
    return maps["Greys"](0.12) if badness is None else maps["Oranges"](0.04 + 0.6 * badness)
