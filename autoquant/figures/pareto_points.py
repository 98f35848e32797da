"""ParetoData: the plans of a search by size and score, for the pareto figure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from autoquant.budget import readable
from autoquant.figures.labels import common_decimals, format_with_error
from autoquant.figures.score_view import ScoreView, view_of, with_headroom
from autoquant.figures.study_data import (
    OutcomePoint,
    Pair,
    StudyData,
    has_finite_score,
)
from autoquant.study.baseline_record import BaselineRecord
from autoquant.study.front import front_of, smallest_level_with
from autoquant.study.outcome import Outcome, pareto_front
from autoquant.study.reference_name import WHERE_ALLOWED, is_uniform

NO_SCORE = "scored on the probe split only"
"""Of pruned trials of earlier versions."""
MIN_FRONT = 2
"""Plans on the front, at least, before it says down to which size a score is kept."""
HEADROOM = 0.08
"""Added at the bad end of the score axis, over its length, for texts about what lies beyond it."""


@dataclass(frozen=True)
class SizeLine:
    """A size that is drawn as a vertical line.

    Attributes:
        share: of the float model's bytes.
        text: beside the line.
    """

    share: float
    text: str


@dataclass(frozen=True)
class PointSeries:
    """Plans that are drawn alike.

    Attributes:
        points: of the plans.
        label: in the legend.
    """

    points: tuple[OutcomePoint, ...]
    label: str

    @property
    def pairs(self) -> list[Pair]:
        """The positions of the points."""
        return [point.at for point in self.points]


@dataclass(frozen=True)
class ParetoData:
    """Everything in the pareto figure.

    Attributes:
        baseline: the float model.
        titles: for each budget what is chosen.
        trials: proposals on the last rung; of earlier versions the complete ones.
        stopped: proposals that were stopped on the last rung, where their scores compare.
        references: plans with equal bits, as far as rules allow.
        same_rung: whether the references compare with the trials: trained for as many steps, or of
            an earlier version.
        lower: proposals whose last score does not compare with those of the trials.
        front: the Pareto front over what compares.
        chosen: the plan that is chosen for each budget.
        firsts: the first plan of each budget, where another one is chosen.
        smallest: for each budget the smallest plan that is level with the chosen one, where it is
            another one.
        budgets: the largest first.
        level: the smallest size with the float model's score, or that of the best plan.
        undrawn: how many outcomes of which state have no point: "1 diverged".
        view: of the score axis.
        shares: ends of the size axis.
    """

    baseline: BaselineRecord
    titles: tuple[str, ...]
    trials: PointSeries
    stopped: PointSeries
    references: PointSeries
    same_rung: bool
    lower: PointSeries
    front: tuple[OutcomePoint, ...]
    chosen: PointSeries
    firsts: tuple[OutcomePoint, ...]
    smallest: tuple[OutcomePoint, ...]
    budgets: tuple[SizeLine, ...]
    level: SizeLine | None
    undrawn: tuple[str, ...]
    view: ScoreView
    shares: Pair


def pareto_data(data: StudyData) -> ParetoData:
    """Sizes and scores of everything that was tried.

    Args:
        data: of the search.
    """
    baseline, direction = data.baseline, data.baseline.direction
    trials, stopped, lower = _proposals(data)
    references = data.references
    same_rung = not data.has_rungs or {o.steps for o in references} <= {data.last_rung}
    found = [selection for selection in data.selections if selection is not None]
    chosen = data.points(_unique(selection.chosen for selection in found))
    firsts = data.points(
        _unique(s.first for s in found if s.first.scores and s.first is not s.chosen)
    )
    smallest = data.points(_unique(s.smallest for s in found if s.smallest is not s.chosen))
    drawn = [*trials, *stopped, *(references if same_rung else [])]
    keep = [baseline.score, *(point.score for point in (*chosen, *firsts, *smallest))]
    budgets = tuple(
        SizeLine(
            budget.size_bytes / baseline.size_bytes,
            f"budget {budget.text} = {readable(budget.size_bytes)}",
        )
        for budget in data.budgets
    )
    view = view_of([outcome.score or 0.0 for outcome in drawn], direction, keep)
    on_axis = data.points([*trials, *stopped, *references])
    if not same_rung and _beyond(on_axis, view):
        view = with_headroom(view, direction, HEADROOM)
    points = [*on_axis, *data.points(lower)]
    shares = [*(line.share for line in budgets), *(point.share for point in points)]
    return ParetoData(
        baseline=baseline,
        titles=_titles(data),
        trials=PointSeries(data.points(trials), _trials_label(data, len(trials))),
        stopped=PointSeries(data.points(stopped), f"stopped on this rung ({len(stopped)})"),
        references=PointSeries(data.points(references), _references_label(references)),
        same_rung=same_rung,
        lower=PointSeries(data.points(lower), _lower_label(data, lower)),
        front=_front(data),
        chosen=PointSeries(chosen, data.chosen_label),
        firsts=firsts,
        smallest=smallest,
        budgets=budgets,
        level=_level(data),
        undrawn=_undrawn(data.outcomes),
        view=replace(view, beyond=_beyond(on_axis, view)),
        shares=(min(shares) / 1.15, max(shares) * 1.15),
    )


def _beyond(points: Sequence[OutcomePoint], view: ScoreView) -> int:
    """How many points lie outside the score axis."""
    return sum(not view.low <= point.score <= view.high for point in points)


def _proposals(data: StudyData) -> tuple[list[Outcome], list[Outcome], list[Outcome]]:
    """The proposals that compare, those stopped on the same rung, and those of lower rungs."""
    scored = [outcome for outcome in data.search if has_finite_score(outcome)]
    if not data.has_rungs:
        pruned = [outcome for outcome in scored if outcome.state == "pruned"]
        return [outcome for outcome in scored if outcome.state == "complete"], [], pruned
    last = data.last_rung
    trained = [outcome for outcome in scored if outcome.state in ("complete", "scored", "pruned")]
    on_last = [outcome for outcome in trained if outcome.steps == last]
    return (
        [outcome for outcome in on_last if outcome.state != "pruned"],
        [outcome for outcome in on_last if outcome.state == "pruned"],
        [outcome for outcome in trained if outcome.steps != last],
    )


def _unique(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """The outcomes, each once: several budgets may have the same."""
    return list({outcome.trial: outcome for outcome in outcomes}.values())


def _trials_label(data: StudyData, count: int) -> str:
    """The legend of the trials: their number, and with rungs their steps."""
    steps = f", {data.last_rung:,} steps" if data.has_rungs else ""
    return f"trials ({count}){steps}"


def _references_label(references: Sequence[Outcome]) -> str:
    """The legend of the references: with rungs the steps that they were trained for."""
    bits = "uniform bits" if all(map(is_uniform, references)) else f"equal bits {WHERE_ALLOWED}"
    steps = max((outcome.steps for outcome in references if outcome.scores), default=0)
    return f"{bits}, {steps:,} steps" if steps else f"{bits}, not widened"


def _lower_label(data: StudyData, lower: Sequence[Outcome]) -> str:
    """The legend of the trials whose last score does not compare."""
    if not data.has_rungs:
        return f"pruned ({len(lower)}), {NO_SCORE}"
    ended = all(outcome.state == "pruned" for outcome in lower)
    return f"{'stopped ' if ended else ''}on a lower rung ({len(lower)})"


def _front(data: StudyData) -> tuple[OutcomePoint, ...]:
    """The front over the proposals on the last rung; of earlier versions over all plans."""
    baseline = data.baseline
    if not data.has_rungs:
        return data.points(pareto_front(data.scored, baseline.direction))
    front = front_of(data.outcomes, baseline.direction, baseline.size_bytes)
    return data.points(point.outcome for point in front.points)


def _level(data: StudyData) -> SizeLine | None:
    """Down to which size the float model's score is kept, or else that of the best plan."""
    baseline = data.baseline
    front = front_of(data.outcomes, baseline.direction, baseline.size_bytes)
    if not data.has_rungs or len(front.points) < MIN_FRONT:
        return None
    point = smallest_level_with(front, baseline.score, baseline.direction)
    other = "float" if point else "the best plan"
    point = point or front.knee
    if point is None or (other != "float" and point == front.points[-1]):
        return None  # nothing smaller than the best plan is level with it
    share = point.outcome.size_bytes / baseline.size_bytes
    return SizeLine(share, f"level with {other} down to {share:.3f}x")


def _titles(data: StudyData) -> tuple[str, ...]:
    """A line for each budget: which plan is chosen, its size, and its score with its error."""
    found = [selection.chosen for selection in data.selections if selection is not None]
    decimals = common_decimals(point.score for point in data.points(found))
    titles = []
    for budget, selection in zip(data.budgets, data.selections, strict=True):
        several = f" {budget.text}" if len(data.budgets) > 1 else ""
        if selection is None:
            bound = "" if data.bound is None else " and the bound"
            titles.append(f"no trained plan fits the budget{several}{bound}")
            continue
        for point in data.points([selection.chosen]):
            size = f"{point.share:.3g}x = {readable(point.size_bytes)}"
            known = not math.isnan(point.error)
            score = format_with_error(point.score, point.error) if known else ""
            score = score or f"{point.score:,.{decimals}f}"
            within = f" for{several}" if several else ""
            titles.append(f"chosen{within}: {point.name}, {size}, {data.baseline.metric} {score}")
    return tuple(titles)


def _undrawn(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """How many outcomes of which state have no point."""
    states = [
        "not trained yet" if outcome.state == "scored" else outcome.state
        for outcome in outcomes
        if not (has_finite_score(outcome) and outcome.state in ("complete", "scored", "pruned"))
    ]
    return tuple(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
