"""The history figure: how the search and the training of the float model went."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from autoquant.figures.study_data import Facts, Pair, View, points_of, view_of
from autoquant.figures.style import (
    BLUE,
    GREEN,
    LEGEND,
    ORANGE,
    RED,
    mark_beyond,
    mark_unscored,
    scatter,
    score_axis,
)
from autoquant.study.folder import Baseline
from autoquant.study.outcome import Outcome, best

KINDS = {  # of trials with a score: marker, size, colour, label
    "within": ("o", 34, BLUE, "trial within the budget"),
    "over": ("-D", 26, BLUE, "trial over the budget"),
}


@dataclass(frozen=True)
class HistoryData:
    """Everything in the history figure.

    Attributes:
        baseline: the float model.
        trials: pairs of trial number and final score, by the keys of KINDS.
        pruned: numbers of the pruned trials; they have no final score.
        lost: numbers of the trials that diverged or were interrupted.
        best: (trial number, best score within the budget so far).
        reference: name and score of the best uniform plan within the budget.
        last: the last trial's number.
        view: of the trials' scores.
        curve: (step, score on the probe split) of the float model.
        curve_view: of the curve.
    """

    baseline: Baseline
    trials: Mapping[str, tuple[Pair, ...]]
    pruned: tuple[int, ...]
    lost: tuple[int, ...]
    best: tuple[Pair, ...]
    reference: tuple[str, float] | None
    last: int
    view: View
    curve: tuple[Pair, ...]
    curve_view: View


def history_data(facts: Facts) -> HistoryData:
    """The search in the order of its trials."""
    baseline, direction = facts.baseline, facts.baseline.direction
    search = [o for o in facts.outcomes if o.role == "search"]
    numbered = {int(o.trial) if o.trial.isdigit() else i: o for i, o in enumerate(search)}
    found = {kind: _of_kind(kind, numbered, facts.budget_bytes) for kind in KINDS}
    shown = [pair for pairs in found.values() for pair in pairs]
    pruned = tuple(i for i, o in sorted(numbered.items()) if o.state == "pruned")
    pick = min if direction == "minimize" else max
    within = found["within"]
    steps = [(i, pick(s for _, s in within[: k + 1])) for k, (i, _) in enumerate(within)]
    uniform = [o for o in facts.scored if o.role == "reference"]
    reference = best(uniform, facts.budget_bytes, direction)
    named = points_of([reference] if reference else [], baseline)
    keep = [baseline.score, *(score for _, score in steps[-1:]), *(p.score for p in named)]
    curve = tuple((float(i), score) for i, score in baseline.history if math.isfinite(score))
    return HistoryData(
        baseline=baseline,
        trials=found,
        pruned=pruned,
        lost=tuple(sorted(set(numbered) - {int(i) for i, _ in shown} - set(pruned))),
        best=tuple(steps),
        reference=(named[0].name, named[0].score) if named else None,
        last=max(numbered, default=0),
        view=view_of([score for _, score in shown], direction, keep),
        curve=curve,
        curve_view=view_of([], direction, [baseline.score, *(score for _, score in curve)]),
    )


def _of_kind(kind: str, numbered: Mapping[int, Outcome], budget: int) -> tuple[Pair, ...]:
    def kind_of(outcome: Outcome) -> str:
        fits = "within" if outcome.size_bytes <= budget else "over"
        return fits if outcome.state == "complete" else outcome.state

    of = [(float(i), o.score) for i, o in sorted(numbered.items()) if kind_of(o) == kind]
    return tuple((i, score) for i, score in of if score is not None and math.isfinite(score))


def draw_history(data: HistoryData) -> Figure:
    """Trials on the left; on the right, where it was recorded, the training of the float model."""
    figure = Figure(figsize=(10.5 if data.curve else 7, 4.6), layout="constrained")
    panels = figure.subplots(1, 2 if data.curve else 1, squeeze=False)[0]
    _draw_trials(panels[0], data)
    if data.curve:
        panels[1].set_title("training of the float model", fontsize=11)
        score_axis(panels[1], data.curve_view, data.baseline, " on the probe split")
        panels[1].plot(*zip(*data.curve, strict=True), "o-", color=BLUE, ms=5)
        panels[1].set_xlabel("training step")
    figure.legend(ncols=3 if data.curve else 2, **LEGEND)
    return figure


def _draw_trials(axes: Axes, data: HistoryData) -> None:
    axes.set_title("search", fontsize=11)
    score_axis(axes, data.view, data.baseline)
    axes.set_xlabel("trial")
    axes.set_xlim(-0.6, data.last + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    for kind, (marker, size, color, label) in KINDS.items():
        scatter(axes, data.trials[kind], marker, size, color, label)
    mark_beyond(axes, [pair for pairs in data.trials.values() for pair in pairs], data.view)
    mark_unscored(axes, data.pruned, data.baseline)
    if data.lost:
        edge = [0.95 if data.baseline.direction == "minimize" else 0.05] * len(data.lost)
        style: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "color": RED}
        axes.plot(data.lost, edge, "x", label="diverged or interrupted", **style)
    if data.best:
        x, y = zip(*data.best, (data.last + 0.6, data.best[-1][1]), strict=True)
        axes.step(x, y, where="post", color=GREEN, lw=1.6, label="best within the budget so far")
    if data.reference:
        name, score = data.reference
        label = f"best uniform plan within the budget: {name}"
        axes.axhline(score, color=ORANGE, ls=":", lw=1.8, label=label)
