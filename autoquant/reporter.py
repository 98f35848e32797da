"""Reporter: the figures of a study. Each figure's data is computed first and drawn second.

The only home of matplotlib. Colours are those of Okabe and Ito, and every series has a marker shape
of its own, so that the figures survive colour blindness and grey print.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from autoquant.budget import Budget, readable
from autoquant.errors import RunError, UserError
from autoquant.files import replacing
from autoquant.outcome import Outcome, best, complete, pareto_front
from autoquant.study import Baseline, Study
from autoquant.task import Direction

FORMATS: dict[str, dict[str, Any]] = {"png": {}, "svg": {"Date": None}}  # with their metadata
DPI = 150
SETTINGS: dict[Any, Any] = {"svg.hashsalt": "autoquant", "font.size": 10.0}  # one study, one SVG
SMALL = 9  # points; no letters are smaller
LEGEND: dict[str, Any] = {"loc": "outside lower center", "fontsize": SMALL, "frameon": False}
MOST_BARS = 25  # layers in the profile figure
MOST_ROWS = 80  # layers in the plan figure
BLUE, ORANGE, GREEN, RED, PINK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"
BLACK, GREY, PALE = "#000000", "#606060", "#9DB7CC"

Pair = tuple[float, float]


def report(study: Study) -> list[Path]:
    """Draw every figure of a study into its ``figures`` folder, as PNG and SVG.

    A figure that has nothing to show (the plan, when none fits the budget; the profile, when the
    study has none) is left out, and removed where an earlier report left it.

    Raises:
        UserError: the study has no outcomes, or one of its files is not what it should be.
        RunError: the figures cannot be written.
    """
    facts = read_facts(study)
    bars = profile_data(study.profile_file)
    with matplotlib.rc_context(SETTINGS):
        drawn = {
            "pareto": draw_pareto(pareto_data(facts)),
            "plan": draw_plan(plan_data(facts.chosen)) if facts.chosen else None,
            "history": draw_history(history_data(facts)),
            "profile": draw_profile(bars) if bars else None,
        }
        try:
            study.figures.mkdir(exist_ok=True)
            return [path for name, figure in drawn.items() for path in _save(figure, study, name)]
        except OSError as error:
            raise RunError(f"'{study.figures}' cannot be written: {error.strerror}") from error


def _save(figure: Figure | None, study: Study, name: str) -> list[Path]:
    paths = {kind: study.figures / f"{name}.{kind}" for kind in FORMATS}
    for kind, path in paths.items():
        if figure is None:
            path.unlink(missing_ok=True)
        else:
            with replacing(path) as temporary:
                figure.savefig(temporary, format=kind, dpi=DPI, metadata=FORMATS[kind])
    return [] if figure is None else list(paths.values())


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
    log: bool
    beyond: int


def view_of(scores: Sequence[float], direction: Direction, keep: Sequence[float] = ()) -> View:
    """A view in which no terrible score flattens the rest.

    The best three quarters of the scores take at least a tenth of the axis; what would shrink them
    further lies beyond it. The axis is logarithmic when low scores are good and those in view span
    more than a factor of 10 (where high ones are good, it would give the worst ones most room).
    ``keep`` are scores that must be in view.
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
    low, high = _padded(low, high, log, direction)
    return View(low, high, log, int(np.sum((every < low) | (every > high))))


def _padded(low: float, high: float, log: bool, direction: Direction) -> Pair:
    """Limits with some air, more of it on the good side, where texts are."""
    below, above = (0.14, 0.08) if direction == "minimize" else (0.08, 0.14)
    if log:
        return low * (low / high) ** below, high * (high / low) ** above
    span = high - low or 0.1 * abs(high) or 1.0
    return low - below * span, high + above * span


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


def shortened(text: str, most: int = 36) -> str:
    """A text with its middle left out where it is long."""
    return text if len(text) <= most else f"{text[: most // 2 - 1]}…{text[-(most // 2) :]}"


def _write(axes: Axes, text: str, at: Pair, offset: Pair = (5, 5), **style: Any) -> None:
    """A small text beside a point, above or below it as the offset says."""
    va = "bottom" if offset[1] > 0 else "top" if offset[1] else "center"
    box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1}
    style = {"va": va, "bbox": box, "fontsize": SMALL, "zorder": 2, **style}
    axes.annotate(text, at, xytext=offset, textcoords="offset points", **style)


def _scatter(
    axes: Axes, pairs: Sequence[Pair], marker: str, size: float, color: str, label: str
) -> None:
    """Markers; a marker that begins with "-" is hollow."""
    hollow = marker.startswith("-")
    style: dict[str, Any] = {"facecolors": "none", "edgecolors": color, "linewidths": 1.3}
    if not hollow:
        style = {"facecolors": color, "edgecolors": "white", "linewidths": 0.6}
    if pairs:
        x, y = zip(*pairs, strict=True)
        axes.scatter(x, y, s=size, marker=marker.lstrip("-"), label=label, zorder=3, **style)


def _score_axis(axes: Axes, view: View, baseline: Baseline, split: str = "") -> None:
    """The score axis, and the float model's score across it."""
    better = "lower" if baseline.direction == "minimize" else "higher"
    axes.set_ylabel(f"{baseline.metric}{split} ({better} is better)")
    if view.log:
        axes.set_yscale("log")
        _plain_log_ticks(axes.yaxis)
    axes.set_ylim(view.low, view.high)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    text = f"float model: {number(baseline.score)}, {readable(baseline.size_bytes)}"
    axes.axhline(baseline.score, color=GREY, ls="--", zorder=1, label="" if split else text)


def _mark_beyond(axes: Axes, pairs: Sequence[Pair], view: View) -> None:
    """Arrows at the edge, for scores beyond it."""
    label = f"{view.beyond} {'trial' if view.beyond == 1 else 'trials'} beyond the axis"
    for edge, marker in ((view.low, "v"), (view.high, "^")):
        out = [x for x, y in pairs if (y < edge if marker == "v" else y > edge)]
        if out:
            axes.plot(out, [edge] * len(out), marker, color=RED, ms=8, clip_on=False, label=label)


def _plain_log_ticks(axis: Axis) -> None:
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))


# --- pareto: size against score ------------------------------------------------------------------


@dataclass(frozen=True)
class Point:
    """An outcome in the plane of size (over the float model's) and score."""

    name: str
    size_bytes: int
    share: float
    score: float

    @property
    def at(self) -> Pair:
        return self.share, self.score


@dataclass(frozen=True)
class ParetoData:
    """Everything in the pareto figure.

    Attributes:
        baseline: the float model.
        search: complete proposals.
        references: complete uniform plans.
        pruned: pruned proposals; their scores are on the probe split.
        front: the Pareto front over all that is complete.
        chosen: the best plan within the budget.
        budget: as a share of the float model.
        budget_text: the same, as it was written and in bytes.
        undrawn: how many outcomes of which state have no point: "1 diverged".
        view: of the score axis.
        shares: limits of the size axis.
    """

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
    shares: Pair


def pareto_data(facts: Facts) -> ParetoData:
    """Sizes and scores of everything that was tried."""
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
    states = [o.state for o in outcomes if not (_finite(o) and o.state in ("complete", "pruned"))]
    return tuple(f"{states.count(state)} {state}" for state in dict.fromkeys(states))


def share_ticks(left: float, right: float) -> list[float]:
    """Round shares of the float model between two limits, at most 8 of them where that can be."""
    handy = (0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.125, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0)
    for candidates in (handy, [2.0**k for k in range(-12, 5)]):
        ticks = [tick for tick in candidates if left <= tick <= right]
        if 3 <= len(ticks) <= 8:
            return ticks
    return [float(t) for t in MaxNLocator(5).tick_values(left, right) if left <= t <= right]


def draw_pareto(data: ParetoData) -> Figure:
    """Size on a logarithmic axis, score above it."""
    figure = Figure(figsize=(8, 5.6), layout="constrained")
    axes = figure.add_subplot()
    _share_axis(axes, data)
    _score_axis(axes, data.view, data.baseline)
    _draw_budget(axes, data)
    if data.front:
        front = [*(point.at for point in data.front), (data.shares[1], data.front[-1].score)]
        x, y = zip(*front, strict=True)
        axes.step(x, y, where="post", color=GREEN, lw=1.6, label="Pareto front", zorder=2)
    _scatter(axes, [p.at for p in data.search], "o", 34, BLUE, f"trials ({len(data.search)})")
    _scatter(axes, [p.at for p in data.references], "s", 48, ORANGE, "uniform bits, not widened")
    pruned = f"pruned ({len(data.pruned)}), scored on the probe split"
    _scatter(axes, [p.at for p in data.pruned], "-v", 22, GREY, pruned)
    _mark_beyond(axes, [p.at for p in (*data.search, *data.references, *data.pruned)], data.view)
    _draw_names(axes, data)
    if data.undrawn:
        axes.plot([], [], " ", label=f"not drawn: {', '.join(data.undrawn)}")
    figure.legend(ncols=3, **LEGEND)
    return figure


def _share_axis(axes: Axes, data: ParetoData) -> None:
    """Shares of the float model below, the same in bytes above."""
    ticks = share_ticks(*data.shares)
    axes.set_xscale("log", base=2)
    axes.set_xlim(*data.shares)
    axes.set_xticks(ticks, [f"{tick:.3g}x" for tick in ticks])
    axes.set_xlabel("packed size, as a share of the float model")
    top = axes.secondary_xaxis("top")
    top.set_xticks(ticks, [readable(tick * data.baseline.size_bytes) for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    top.xaxis.set_minor_locator(NullLocator())


def _draw_budget(axes: Axes, data: ParetoData) -> None:
    """The budget, with its text on the bad side, where the line has more room."""
    axes.axvline(data.budget, color=PINK, ls="-.", lw=1.6, zorder=1)
    left, right = (abs(math.log(share / data.budget)) for share in data.shares)
    high, down = (1.0, -5) if data.baseline.direction == "minimize" else (0.0, 5)
    side, ha = (5, "left") if right > 0.6 * left else (-5, "right")
    style: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "ha": ha, "color": "#93396F"}
    _write(axes, data.budget_text, (data.budget, high), (side, down), **style)


def _draw_names(axes: Axes, data: ParetoData) -> None:
    """Names of the references, on the side where a front is empty, and of the chosen plan."""
    side = -5 if data.baseline.direction == "minimize" else 5
    for point in data.references:
        inside = min(max(point.score, data.view.low), data.view.high)
        text = point.name if inside == point.score else f"{point.name}: {number(point.score)}"
        _write(axes, text, (point.share, inside), (6, side))
    if data.chosen is None:
        axes.set_title("no trained plan fits the budget", fontsize=11)
        return
    chosen, metric = data.chosen, data.baseline.metric
    size = f"{chosen.share:.3g}x = {readable(chosen.size_bytes)}"
    axes.set_title(f"chosen: {chosen.name}, {size}, {metric} {number(chosen.score)}", fontsize=11)
    _scatter(axes, [chosen.at], "-o", 190, RED, "chosen plan")


# --- plan: what the chosen plan decides, layer by layer ------------------------------------------

COLUMNS = ("weight_bits", "recurrent_bits", "activation_bits", "hidden_bits", "width")


@dataclass(frozen=True)
class PlanData:
    """The chosen plan as a table, in the model's order.

    Attributes:
        title: which plan it is.
        columns: those of COLUMNS in which any layer has a value.
        rows: a layer's name and values; None where it has no bits of its own.
        left_out: layers beyond the first MOST_ROWS.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float | None, ...]], ...]
    left_out: int = 0


def plan_data(chosen: Outcome) -> PlanData:
    """The choices of a plan as a table."""
    choices = chosen.plan.choices
    used = [c for c in COLUMNS if any(getattr(v, c) is not None for v in choices.values())]
    rows = [(shortened(k), tuple(getattr(v, c) for c in used)) for k, v in choices.items()]
    title = f"chosen plan: {label_of(chosen)}, {readable(chosen.size_bytes)}"
    return PlanData(title, tuple(used), tuple(rows[:MOST_ROWS]), len(rows[MOST_ROWS:]))


def cell(column: str, value: float | None) -> tuple[str, tuple[float, ...]]:
    """A cell's text and colour: more bits are bluer, more width is more orange.

    >>> cell("width", 1.25)[0], cell("weight_bits", 32)[0], cell("hidden_bits", None)[0]
    ('x1.25', 'float', '')
    """
    maps = matplotlib.colormaps
    if value is None:
        return "", (1.0, 1.0, 1.0, 1.0)
    if column == "width":
        return f"x{value:g}", maps["Oranges"](min(0.35 * (value - 1) ** 0.5, 0.6))
    if value > 8:
        return "float" if value == 32 else f"{value:g}", maps["Greys"](0.2)
    return f"{value:g}", maps["Blues"](0.08 + 0.09 * value)


def draw_plan(data: PlanData) -> Figure:
    """A table with a cell of colour for every choice."""
    count, wide = len(data.rows), len(data.columns)
    height = 1.1 + (0.32 if count <= 25 else 0.2) * count
    names = [name for name, _ in data.rows]
    width = max(4.6, 0.085 * max(map(len, names)) + 0.95 * wide)
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    cells = [[cell(c, v) for c, v in zip(data.columns, row, strict=True)] for _, row in data.rows]
    axes.imshow([[color for _, color in row] for row in cells], aspect="auto")
    for i, j in np.ndindex(count, wide):
        text, color = cells[i][j]
        ink = "white" if sum(color[:3]) < 1.5 else BLACK
        axes.text(j, i, text, ha="center", va="center", color=ink, fontsize=SMALL)
    axes.set_yticks(range(count), names, fontsize=SMALL)
    axes.set_xticks(range(wide), [c.replace("_", "\n") for c in data.columns], fontsize=SMALL)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.hlines(np.arange(count + 1) - 0.5, -0.5, wide - 0.5, color="white", lw=1.5)
    axes.vlines(np.arange(wide + 1) - 0.5, -0.5, count - 0.5, color="white", lw=3)
    axes.spines[:].set_visible(False)
    figure.suptitle(data.title, fontsize=11)
    if data.left_out:
        axes.set_xlabel(f"... and {data.left_out} more layers", fontsize=SMALL)
    return figure


# --- history: how the search and the training of the float model went ----------------------------

KINDS = {  # of trials with a score: marker, size, colour, label
    "within": ("o", 34, BLUE, "trial within the budget"),
    "over": ("-D", 26, BLUE, "trial over the budget"),
    "pruned": ("-v", 22, GREY, "pruned (scored on the probe split)"),
}


@dataclass(frozen=True)
class HistoryData:
    """Everything in the history figure.

    Attributes:
        baseline: the float model.
        trials: pairs of trial number and final score, by the keys of KINDS.
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
    pick = min if direction == "minimize" else max
    within = found["within"]
    steps = [(i, pick(s for _, s in within[: k + 1])) for k, (i, _) in enumerate(within)]
    uniform = [o for o in facts.scored if o.role == "reference"]
    reference = best(uniform, facts.budget_bytes, direction)
    named = _points([reference] if reference else [], baseline)
    keep = [baseline.score, *(score for _, score in steps[-1:]), *(p.score for p in named)]
    curve = tuple((float(i), score) for i, score in baseline.history if math.isfinite(score))
    return HistoryData(
        baseline=baseline,
        trials=found,
        lost=tuple(sorted(set(numbered) - {int(i) for i, _ in shown})),
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
        _score_axis(panels[1], data.curve_view, data.baseline, " on the probe split")
        panels[1].plot(*zip(*data.curve, strict=True), "o-", color=BLUE, ms=5)
        panels[1].set_xlabel("training step")
    figure.legend(ncols=3 if data.curve else 2, **LEGEND)
    return figure


def _draw_trials(axes: Axes, data: HistoryData) -> None:
    axes.set_title("search", fontsize=11)
    _score_axis(axes, data.view, data.baseline)
    axes.set_xlabel("trial")
    axes.set_xlim(-0.6, data.last + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    for kind, (marker, size, color, label) in KINDS.items():
        _scatter(axes, data.trials[kind], marker, size, color, label)
    _mark_beyond(axes, [pair for pairs in data.trials.values() for pair in pairs], data.view)
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


# --- profile: which layers are large, and what growing them costs --------------------------------


@dataclass(frozen=True)
class Bar:
    """One layer: its share of the parameters and, for each width, the share that growing adds."""

    name: str
    share: float
    growth: tuple[Pair, ...] = ()
    widenable: bool = False
    reason: str = ""


def profile_data(path: Path) -> tuple[Bar, ...]:
    """The largest layers of a recorded profile and one bar for the rest; empty without a record.

    Raises:
        UserError: the file is not a profile.
    """
    if not path.is_file():
        return ()
    try:
        layers = json.loads(path.read_text(encoding="utf-8"))["layers"]
        bars = sorted((_bar(layer) for layer in layers), key=lambda bar: -bar.share)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"'{path}' must hold a profile, got {error!r}") from error
    shown, rest = bars[:MOST_BARS], bars[MOST_BARS:]
    if rest:
        shown.append(Bar(f"... and {len(rest)} smaller layers", sum(bar.share for bar in rest)))
    return tuple(shown)


def _bar(layer: dict[str, Any]) -> Bar:
    growth = tuple((float(each["width"]), float(each["added_share"])) for each in layer["growth"])
    name, share = shortened(str(layer["name"])), float(layer["share"])
    return Bar(name, share, growth, bool(layer["widenable"]), str(layer["reason"]))


def draw_profile(bars: Sequence[Bar]) -> Figure:
    """Shares on the left, costs of growing on the right."""
    figure = Figure(figsize=(10.5, 1.8 + 0.32 * len(bars)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    looks = {True: (GREEN, "//", "may be widened"), False: (PALE, "", "keeps its width")}
    for widenable, (color, hatch, label) in looks.items():
        of = [(i, 100 * bar.share) for i, bar in enumerate(bars) if bar.widenable == widenable]
        rows, shares = zip(*of, strict=True) if of else ((), ())
        left.barh(rows, shares, 0.75, color=color, hatch=hatch, edgecolor="white", label=label)
    for i, bar in enumerate(bars):
        _write(left, f"{100 * bar.share:.3g}%", (100 * bar.share, i), (4, 0))
    left.set_yticks(range(len(bars)), [bar.name for bar in bars], fontsize=SMALL)
    left.set_ylim(len(bars) - 0.4, -0.6)
    left.set_xlim(0, 120 * max(bar.share for bar in bars))
    left.set_xlabel("% of the model's parameters")
    _draw_growth(right, bars)
    figure.legend(ncols=6, **LEGEND)
    return figure


def _draw_growth(axes: Axes, bars: Sequence[Bar]) -> None:
    """What each growth adds; for a layer that cannot grow, why."""
    widths = sorted({width for bar in bars for width, _ in bar.growth})
    looks = zip(widths, "o^sDv", (BLUE, ORANGE, RED, PINK, BLACK), strict=False)
    for width, marker, color in looks:
        at = [(100 * cost, i) for i, bar in enumerate(bars) for w, cost in bar.growth if w == width]
        _scatter(axes, at, marker, 40, color, f"grown x{width:g}")
    for i, bar in enumerate(bars):
        if not bar.growth:
            where: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "color": GREY}
            _write(axes, shortened(bar.reason, 48), (0.0, i), (5, 0), **where)
    axes.set_xlabel("% that growing the layer adds to the model")
    if widths:
        axes.set_xscale("log")
        _plain_log_ticks(axes.xaxis)
    axes.tick_params(left=False)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
