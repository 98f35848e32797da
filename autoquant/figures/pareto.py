"""The pareto figure: size against score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from autoquant.budget import readable
from autoquant.figures.labels import format_score
from autoquant.figures.score_view import ScoreView, view_of
from autoquant.figures.study_data import (
    OutcomePoint,
    Pair,
    StudyData,
    has_finite_score,
    points_of,
)
from autoquant.figures.style import (
    BLUE,
    DARK_PINK,
    GREEN,
    LEGEND,
    ORANGE,
    PINK,
    RED,
    annotate,
    draw_undrawn,
    mark_beyond,
    mark_unscored,
    scatter,
    score_axis,
    share_axis,
)
from autoquant.study.folder import BaselineRecord
from autoquant.study.outcome import Outcome, pareto_front


@dataclass(frozen=True)
class ParetoData:
    """Everything in the pareto figure.

    Attributes:
        baseline: the float model.
        search: complete trials of the search.
        references: complete uniform plans.
        pruned: pruned trials; they have no final score, only one on the probe split.
        front: the Pareto front over all that is complete.
        chosen: the best plan within the budget.
        budget: as a share of the float model.
        budget_text: the same, as it was written and in bytes.
        undrawn: how many outcomes of which state have no point: "1 diverged".
        view: of the score axis.
        shares: ends of the size axis.
    """

    baseline: BaselineRecord
    search: tuple[OutcomePoint, ...]
    references: tuple[OutcomePoint, ...]
    pruned: tuple[OutcomePoint, ...]
    front: tuple[OutcomePoint, ...]
    chosen: OutcomePoint | None
    budget: float
    budget_text: str
    undrawn: tuple[str, ...]
    view: ScoreView
    shares: Pair


def pareto_data(data: StudyData) -> ParetoData:
    """Sizes and scores of everything that was tried.

    Args:
        data: of the search.
    """
    baseline, scored = data.baseline, data.scored

    def of_role(role: str) -> tuple[OutcomePoint, ...]:
        return points_of((outcome for outcome in scored if outcome.role == role), baseline)

    chosen = points_of([data.chosen] if data.chosen else [], baseline)
    pruned = points_of((o for o in data.outcomes if o.state == "pruned"), baseline)
    budget = data.budget_bytes / baseline.size_bytes
    shares = [budget, *(point.share for point in (*points_of(scored, baseline), *pruned))]
    keep = [baseline.score, *(point.score for point in chosen)]
    return ParetoData(
        baseline=baseline,
        search=of_role("search"),
        references=of_role("reference"),
        pruned=pruned,
        front=points_of(pareto_front(scored, baseline.direction), baseline),
        chosen=chosen[0] if chosen else None,
        budget=budget,
        budget_text=f"budget {data.budget} = {readable(data.budget_bytes)}",
        undrawn=_undrawn(data.outcomes),
        view=view_of([outcome.score or 0.0 for outcome in scored], baseline.direction, keep),
        shares=(min(shares) / 1.15, max(shares) * 1.15),
    )


def _undrawn(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """How many outcomes of which state have no point."""
    states = [
        outcome.state
        for outcome in outcomes
        if not (has_finite_score(outcome) and outcome.state in ("complete", "pruned"))
    ]
    return tuple(f"{states.count(state)} {state}" for state in dict.fromkeys(states))


# --- drawing -------------------------------------------------------------------------------------


def draw_pareto(data: ParetoData) -> Figure:
    """Size on a logarithmic axis, score above it.

    Args:
        data: to draw.
    """
    figure = Figure(figsize=(8, 5.6), layout="constrained")
    axes = figure.add_subplot()
    share_axis(axes, data.shares, data.baseline.size_bytes)
    score_axis(axes, data.view, data.baseline)
    _draw_budget(axes, data)
    if data.front:
        front = [*(point.at for point in data.front), (data.shares[1], data.front[-1].score)]
        x, y = zip(*front, strict=True)
        axes.step(x, y, where="post", color=GREEN, lw=1.6, label="Pareto front", zorder=2)
    scatter(axes, [p.at for p in data.search], "o", 34, BLUE, f"trials ({len(data.search)})")
    scatter(axes, [p.at for p in data.references], "s", 48, ORANGE, "uniform bits, not widened")
    mark_unscored(axes, [p.share for p in data.pruned], data.baseline)
    mark_beyond(axes, [p.at for p in (*data.search, *data.references)], data.view)
    _draw_names(axes, data)
    draw_undrawn(axes, data.undrawn)
    figure.legend(ncols=3, **LEGEND)
    return figure


def _draw_budget(axes: Axes, data: ParetoData) -> None:
    """The budget, with its text on the bad side, where fewer points are near the line."""
    axes.axvline(data.budget, color=PINK, ls="-.", lw=1.6, zorder=1)
    left, right = (abs(math.log(share / data.budget)) for share in data.shares)
    height, down = (1.0, -5) if data.baseline.direction == "minimize" else (0.0, 5)
    side, ha = (5, "left") if right > 0.6 * left else (-5, "right")
    style: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "ha": ha, "color": DARK_PINK}
    annotate(axes, data.budget_text, (data.budget, height), (side, down), **style)


def _draw_names(axes: Axes, data: ParetoData) -> None:
    """Names of the references, on the side where a front is empty, and of the chosen plan."""
    side = -5 if data.baseline.direction == "minimize" else 5
    for point in data.references:
        shown = min(max(point.score, data.view.low), data.view.high)
        outside = "" if shown == point.score else f": {format_score(point.score)}"
        annotate(axes, f"{point.name}{outside}", (point.share, shown), (6, side))
    if data.chosen is None:
        axes.set_title("no trained plan fits the budget", fontsize=11)
        return
    chosen, metric = data.chosen, data.baseline.metric
    size = f"{chosen.share:.3g}x = {readable(chosen.size_bytes)}"
    title = f"chosen: {chosen.name}, {size}, {metric} {format_score(chosen.score)}"
    axes.set_title(title, fontsize=11)
    scatter(axes, [chosen.at], "-o", 190, RED, "chosen plan")
