"""Reporter: the figures of a study. Each figure's data is computed first and drawn second.

The only home of matplotlib. Colours are those of Okabe and Ito, and every series has a marker shape
of its own, so that the figures survive colour blindness and grey print.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from autoquant.budget import Budget, readable
from autoquant.errors import RunError, UserError
from autoquant.files import replacing
from autoquant.outcome import Outcome, best, complete, loss_of, pareto_front
from autoquant.study import Baseline, Study
from autoquant.task import Direction

FORMATS = ("png", "svg")
DPI = 150
SETTINGS = {"svg.hashsalt": "autoquant", "font.size": 10.0}  # one study, one SVG
BLUE, ORANGE, GREEN, RED, PINK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"
GREY = "#666666"
SMALL = 9  # points; no letters are smaller
MOST_BARS = 25  # layers in the profile figure
MOST_ROWS = 80  # layers in the plan figure


def report(study: Study) -> list[Path]:
    """Draw every figure of a study into its ``figures`` folder, as PNG and SVG.

    A figure that has nothing to show (the plan, when none fits the budget; the profile, when the
    study has none) is left out, and removed where an earlier report left it.

    Raises:
        UserError: the study has no outcomes, or one of its files is not what it should be.
        RunError: the figures cannot be written.
    """
    facts = read_facts(study)
    layers = profile_data(study.profile_file)
    with matplotlib.rc_context(SETTINGS):
        drawn = {
            "pareto": draw_pareto(pareto_data(facts)),
            "plan": draw_plan(plan_data(facts.chosen)) if facts.chosen else None,
            "history": draw_history(history_data(facts)),
            "profile": draw_profile(layers) if layers else None,
        }
        try:
            study.figures.mkdir(exist_ok=True)
            return [path for name, figure in drawn.items() for path in _save(figure, study, name)]
        except OSError as error:
            raise RunError(f"'{study.figures}' cannot be written: {error.strerror}") from error


def _save(figure: Figure | None, study: Study, name: str) -> list[Path]:
    paths = [study.figures / f"{name}.{kind}" for kind in FORMATS]
    for path, kind in zip(paths, FORMATS, strict=True):
        if figure is None:
            path.unlink(missing_ok=True)
            continue
        with replacing(path) as temporary:
            undated: dict[str, Any] = {"Date": None} if kind == "svg" else {}
            figure.savefig(temporary, format=kind, dpi=DPI, metadata=undated)
    return [] if figure is None else paths


# --- what the figures share ----------------------------------------------------------------------


@dataclass(frozen=True)
class Facts:
    """What a study says, read once."""

    baseline: Baseline
    outcomes: tuple[Outcome, ...]
    budget: str
    budget_bytes: int

    @property
    def scored(self) -> list[Outcome]:
        """The complete outcomes whose score is a number."""
        return [each for each in complete(self.outcomes) if _finite(each)]

    @property
    def chosen(self) -> Outcome | None:
        """The best of them within the budget, references included."""
        return best(self.scored, self.budget_bytes, self.baseline.direction)


def read_facts(study: Study) -> Facts:
    """Read what the figures need.

    Raises:
        UserError: the study has no outcomes.
    """
    outcomes = tuple(study.outcomes())
    if not outcomes:
        raise UserError(f"a study must have outcomes to report, got none in '{study.path}'")
    baseline = study.baseline()
    budget = Budget.parse(str(study.config().get("budget")))
    size = budget.bytes(float_bytes=baseline.size_bytes, parameters=baseline.parameters)
    return Facts(baseline, outcomes, str(budget), size)


def _finite(outcome: Outcome) -> bool:
    return outcome.score is not None and math.isfinite(outcome.score)


@dataclass(frozen=True)
class View:
    """The part of the score axis that is shown, and how many scores lie beyond it."""

    low: float
    high: float
    log: bool = False
    beyond: int = 0

    @property
    def note(self) -> str:
        trials = "trial" if self.beyond == 1 else "trials"
        return f"{self.beyond} {trials} beyond the axis" if self.beyond else ""


def view_of(scores: Sequence[float], direction: Direction, keep: Sequence[float] = ()) -> View:
    """A view in which no terrible score flattens the rest.

    The best three quarters of the scores take at least a tenth of the axis; what would shrink them
    further lies beyond it. The axis is logarithmic when low scores are good and those in view span
    more than a factor of 10 (where high ones are good, it would give the worst ones most room).

    Args:
        scores: finite scores.
        direction: which of them are good.
        keep: more scores, that must be in view.
    """
    every = np.array([*scores, *keep])
    log = bool(direction == "minimize" and every.min() > 0 and every.max() > 10 * every.min())
    losses = np.log(every) if log else every if direction == "minimize" else -every
    ranked = np.sort(losses)
    least = math.log(1.05) if log else 0.05 * abs(ranked[0])
    room = 10 * max(ranked[int(0.75 * (len(ranked) - 1))] - ranked[0], least)
    limit = ranked[0] + room if room and len(ranked) > 2 else math.inf
    inside = every[(losses <= limit) | (np.arange(len(every)) >= len(scores))]
    low, high = float(inside.min()), float(inside.max())
    log = log and high > 10 * low
    beyond = int(np.sum((every < low) | (every > high)))
    return View(*_padded(low, high, log, direction), log, beyond)


def _padded(low: float, high: float, log: bool, direction: Direction) -> tuple[float, float]:
    """Limits with some air, more of it on the good side, where texts are."""
    if log:
        return low * (low / high) ** 0.14, high * (high / low) ** 0.08
    span = high - low or 0.1 * abs(high) or 1.0
    below, above = (0.14, 0.08) if direction == "minimize" else (0.08, 0.14)
    return low - below * span, high + above * span


def _score_axis(axes: Axes, view: View, baseline: Baseline, split: str = "") -> None:
    better = "lower" if baseline.direction == "minimize" else "higher"
    axes.set_ylabel(f"{baseline.metric}{split} ({better} is better)")
    if view.log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    axes.set_ylim(view.low, view.high)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    worse, align = (0.98, "top") if baseline.direction == "minimize" else (0.02, "bottom")
    note = {"transform": axes.transAxes, "ha": "left", "va": align, "fontsize": SMALL}
    axes.text(0.01, worse, view.note, color=RED, **note)  # type: ignore[arg-type]


def number(score: float) -> str:
    """A score for people.

    >>> number(12345.6), number(38.123)
    ('12,346', '38.12')
    """
    return f"{score:,.0f}" if 1000 <= abs(score) < 1e7 else f"{score:.4g}"


def label_of(outcome: Outcome) -> str:
    """An outcome's name for people: "w4" is the uniform 4-bit reference."""
    bits = outcome.trial.removeprefix("w")
    uniform = outcome.role == "reference" and bits.isdigit()
    return f"{bits}-bit" if uniform else f"trial {outcome.trial}"


def shortened(name: str, most: int = 36) -> str:
    """A name with its middle left out where it is long."""
    return name if len(name) <= most else f"{name[: most // 2 - 1]}…{name[-(most // 2) :]}"


# --- pareto: size against score ------------------------------------------------------------------


@dataclass(frozen=True)
class Point:
    """An outcome in the plane of size (over the float model's) and score."""

    name: str
    size_bytes: int
    share: float
    score: float


@dataclass(frozen=True)
class ParetoData:
    """Everything in the pareto figure; ``undrawn`` counts states: "1 diverged"."""

    baseline: Baseline
    search: tuple[Point, ...]
    references: tuple[Point, ...]
    pruned: tuple[Point, ...]
    front: tuple[Point, ...]
    chosen: Point | None
    budget: float
    budget_text: str
    undrawn: tuple[str, ...]
    view: View
    shares: tuple[float, float]


def pareto_data(facts: Facts) -> ParetoData:
    """Sizes and scores of everything that was tried; ``shares`` limits the size axis."""
    baseline, scored = facts.baseline, facts.scored
    chosen = _points([facts.chosen] if facts.chosen else [], baseline)
    pruned = _points((o for o in facts.outcomes if o.state == "pruned"), baseline)
    drawn = [*_points(scored, baseline), *pruned]
    budget = facts.budget_bytes / baseline.size_bytes
    shares = [budget, *(point.share for point in drawn)]
    keep = [baseline.score, *(point.score for point in chosen)]
    return ParetoData(
        baseline=baseline,
        search=_points((o for o in scored if o.role == "search"), baseline),
        references=_points((o for o in scored if o.role == "reference"), baseline),
        pruned=pruned,
        front=_points(pareto_front(scored, baseline.direction), baseline),
        chosen=chosen[0] if chosen else None,
        budget=budget,
        budget_text=f"budget {facts.budget} = {readable(facts.budget_bytes)}",
        undrawn=_undrawn(facts.outcomes),
        view=view_of([point.score for point in drawn], baseline.direction, keep),
        shares=(min(shares) / 1.15, max(shares) * 1.15),
    )


def _points(outcomes: Iterable[Outcome], baseline: Baseline) -> tuple[Point, ...]:
    return tuple(
        Point(label_of(o), o.size_bytes, o.size_bytes / baseline.size_bytes, o.score)
        for o in outcomes
        if o.score is not None and _finite(o)
    )


def _undrawn(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """How many outcomes of each state have no point in the figure."""
    states = [o.state for o in outcomes if not (_finite(o) and o.state in ("complete", "pruned"))]
    return tuple(f"{states.count(state)} {state}" for state in dict.fromkeys(states))


def draw_pareto(data: ParetoData) -> Figure:
    """Size on a logarithmic axis, score above it."""
    figure = Figure(figsize=(8, 5.6), layout="constrained")
    axes = figure.add_subplot()
    _share_axis(axes, data)
    _score_axis(axes, data.view, data.baseline)
    _draw_lines(axes, data)
    _scatter(axes, data.pruned, "pruned (scored on the probe split)", "v", 22, GREY, hollow=True)
    _scatter(axes, data.search, "trial", "o", 34, BLUE)
    _scatter(axes, data.references, "uniform bits, not widened", "s", 48, ORANGE)
    for point in data.references:
        _note(axes, point, point.name, data.view)
    if data.chosen:
        ring = Point("", 0, data.chosen.share, data.chosen.score)
        _scatter(axes, [ring], "chosen plan", "o", 190, RED, hollow=True)
        _annotate_chosen(axes, data, data.chosen)
    else:
        axes.set_title("no trained plan fits the budget", color=RED, fontsize=11)
    if data.undrawn:
        axes.plot([], [], "x", color=GREY, label=f"not drawn: {', '.join(data.undrawn)}")
    figure.legend(loc="outside lower center", ncols=3, fontsize=SMALL, frameon=False)
    return figure
