"""The grid figure: the scores of a sweep as tables in colour."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from autoquant.budget import readable
from autoquant.figures.study_data import View, number, times, view_of
from autoquant.figures.style import BLACK, draw_tiles
from autoquant.figures.sweep_data import Mean, SweepFacts, rising
from autoquant.study.folder import Baseline
from autoquant.task import Direction

Placed = Mapping[tuple[float | None, int | None], Mean]
"""Plans by their row and their activation bits."""


@dataclass(frozen=True)
class Tile:
    """A plan in a table.

    Attributes:
        text: its score, or how it ended; nothing where it has not been trained yet.
        badness: where its score lies in the view, from 0 (best) to 1; None where there is none.
    """

    text: str = ""
    badness: float | None = None


@dataclass(frozen=True)
class Panel:
    """One table: of a width or a budget.

    Attributes:
        title: which one.
        down: what its rows are.
        rows: their names.
        columns: the names of its columns, which are activation bits.
        tiles: by row and column.
    """

    title: str
    down: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    tiles: tuple[tuple[Tile, ...], ...]


@dataclass(frozen=True)
class GridData:
    """Everything in the grid figure.

    Attributes:
        baseline: the float model.
        panels: one for each width, most bits first; then one for each budget, narrowest first.
        seeds: the most seeds that a tile is the mean of.
    """

    baseline: Baseline
    panels: tuple[Panel, ...]
    seeds: int


def grid_data(facts: SweepFacts) -> GridData | None:
    """The plans of the grid as tables; None where none of them has a score."""
    grid = [mean for mean in facts.means if mean.activation_bits is not None]
    scores = [mean.score for mean in grid if mean.scores]
    if not scores:
        return None
    base = facts.baseline
    view = view_of(scores, base.direction, [base.score])
    uniform = [mean for mean in grid if mean.budget is None]
    panels = [
        _of_width(width, start, uniform, view, base.direction)
        for start in dict.fromkeys(mean.start for mean in uniform)
        for width in rising(mean.width for mean in uniform if mean.start == start)
    ]
    budgets = dict.fromkeys((m.budget, m.start) for m in grid if m.budget is not None)
    panels += [_of_budget(*each, grid, view, base.direction) for each in budgets]
    return GridData(base, tuple(panels), facts.seeds)


def _of_width(
    width: float, start: str, means: Sequence[Mean], view: View, direction: Direction
) -> Panel:
    own = [mean for mean in means if (mean.width, mean.start) == (width, start)]
    placed = {(mean.weight_bits, mean.activation_bits): mean for mean in own}
    rows = {bits: f"{bits:g}" for bits in rising(bits for bits, _ in placed)[::-1]}
    return _panel(f"width {times(width)}{start}", "weight bits", rows, placed, view, direction)


def _of_budget(
    budget: str, start: str, means: Sequence[Mean], view: View, direction: Direction
) -> Panel:
    own = [mean for mean in means if (mean.budget, mean.start) == (budget, start)]
    placed = {(mean.width, mean.activation_bits): mean for mean in own}
    rows = {width: times(width) for width in rising(width for width, _ in placed)}
    return _panel(f"budget {budget}{start}", "width", rows, placed, view, direction)


def _panel(
    title: str,
    down: str,
    rows: Mapping[float, str],
    placed: Placed,
    view: View,
    direction: Direction,
) -> Panel:
    across = [int(bits) for bits in rising(bits for _, bits in placed)][::-1]
    tiles = tuple(
        tuple(_tile(placed.get((row, bits)), view, direction) for bits in across) for row in rows
    )
    return Panel(title, down, tuple(rows.values()), tuple(map(str, across)), tiles)


def _tile(mean: Mean | None, view: View, direction: Direction) -> Tile:
    if mean is None:
        return Tile()
    return Tile(mean.text, badness(mean.score, view, direction) if mean.scores else None)


def badness(score: float, view: View, direction: Direction) -> float:
    """Where a score lies in a view, from 0 (best) to 1 (worst, or beyond it).

    >>> badness(15.0, View(10.0, 20.0, False, 0), "minimize")
    0.5
    """
    low, high, at = view.low, view.high, min(max(score, view.low), view.high)
    if view.log:
        low, high, at = math.log(low), math.log(high), math.log(at)
    part = (at - low) / (high - low)
    return part if direction == "minimize" else 1 - part


# --- drawing -------------------------------------------------------------------------------------


def draw_grid(data: GridData) -> Figure:
    """The tables side by side."""
    wide = [len(panel.columns) for panel in data.panels]
    tallest = max(len(panel.rows) for panel in data.panels)
    size = (max(5.6, 0.6 + 1.0 * sum(wide) + 0.8 * len(wide)), 1.8 + 0.6 * tallest)
    figure = Figure(figsize=size, layout="constrained")
    row = figure.subplots(1, len(wide), squeeze=False, width_ratios=wide)[0]
    for axes, panel in zip(row, data.panels, strict=True):
        _draw_panel(axes, panel)
    figure.suptitle(_title(data), fontsize=11)
    return figure


def _title(data: GridData) -> str:
    base = data.baseline
    better = "lower" if base.direction == "minimize" else "higher"
    seeds = f", mean ± deviation of {data.seeds} seeds" if data.seeds > 1 else ""
    first = f"{base.metric} ({better} is better), validation split{seeds}"
    return f"{first}\nfloat model: {number(base.score)}, {readable(base.size_bytes)}"


def _draw_panel(axes: Axes, panel: Panel) -> None:
    draw_tiles(axes, [[(t.text, _color(t.badness), BLACK) for t in row] for row in panel.tiles])
    axes.set_title(panel.title, fontsize=10)
    axes.set_xticks(range(len(panel.columns)), panel.columns)
    axes.set_yticks(range(len(panel.rows)), panel.rows)
    axes.set_xlabel("activation bits")
    axes.set_ylabel(panel.down)


def _color(badness: float | None) -> tuple[float, ...]:
    """Good scores are pale, bad ones orange, and what has no score is grey."""
    maps = matplotlib.colormaps
    return maps["Greys"](0.12) if badness is None else maps["Oranges"](0.04 + 0.6 * badness)
