"""TrainingChart: the scores of trials by training steps, and those of the float model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from autoquant.figures.history_parts import FloatCurve, float_curve
from autoquant.figures.labels import format_score, outcome_label
from autoquant.figures.rung_history import rung_history_data
from autoquant.figures.score_view import ScoreView, view_of
from autoquant.figures.study_data import Pair, StudyData
from autoquant.report_page.frame import (
    Frame,
    float_line,
    score_label,
    score_scale,
    score_ticks,
    x_scale,
)
from autoquant.study.baseline_record import BaselineRecord
from autoquant.study.outcome import Outcome

PANEL_WIDTH, PANEL_HEIGHT = 520, 340
PROBE = "probe split"
"""Its scores do not compare with those of the validation split: the float model's is not drawn."""
MARGIN = 1.12
"""Space beyond the first and the last step, as a factor."""


@dataclass(frozen=True)
class TrainingCurve:
    """The scores of one training, or the mean ones of a plan.

    Attributes:
        kind: "trial", "reference", "chosen" or "float".
        label: name and scores, for people.
        row: id of its row in the table of plans; empty where there is none.
        points: where the scores are drawn.
    """

    kind: str
    label: str
    row: str
    points: tuple[Pair, ...]


@dataclass(frozen=True)
class TrainingChart:
    """Scores over training steps.

    Attributes:
        frame: steps and scores.
        curves: the chosen ones last, so that they are drawn on top.
        beyond: how many scores lie beyond the axis.
    """

    frame: Frame
    curves: tuple[TrainingCurve, ...]
    beyond: int = 0


def trial_curves(data: StudyData, rows: Mapping[str, str]) -> TrainingChart | None:
    """The mean score of each trial on each rung; None where no trial has a score.

    Of studies of earlier versions the intermediate scores, which are on the probe split.

    Args:
        data: of the search.
        rows: ids of the rows in the table of plans, by trial.
    """
    chosen = {selection.chosen.trial for selection in data.selections if selection is not None}
    known = {outcome.trial: _finite(outcome.history) for outcome in data.outcomes}
    drawn = [outcome for outcome in data.outcomes if known[outcome.trial]]
    steps = [step for outcome in drawn for step, _ in known[outcome.trial]]
    if not steps:
        return None
    split = "validation split" if data.has_rungs else PROBE
    scores = [score for outcome in drawn for _, score in known[outcome.trial]]
    view = rung_history_data(data).view if data.has_rungs else _probe_view(data, scores)
    frame = _frame(data.baseline, view, steps, split)
    curves = [
        _curve(frame, outcome, known[outcome.trial], chosen, rows)
        for outcome in sorted(drawn, key=lambda outcome: outcome.trial in chosen)
    ]
    return TrainingChart(frame, tuple(curves), sum(not frame.y.shows(score) for score in scores))


def float_training(baseline: BaselineRecord) -> TrainingChart | None:
    """The intermediate scores of the float model; None where its weights were given.

    Args:
        baseline: the float model.
    """
    curve: FloatCurve = float_curve(baseline)
    if not curve.pairs:
        return None
    steps = [*(step for step, _ in curve.pairs), baseline.steps]
    frame = _frame(baseline, curve.view, steps, PROBE, log=False)
    points = tuple((frame.x(step), frame.y(score)) for step, score in curve.pairs)
    label = f"float model: {_listed(curve.pairs)}"
    return TrainingChart(frame, (TrainingCurve("float", label, "", points),))


def _probe_view(data: StudyData, scores: Sequence[float]) -> ScoreView:
    """The axis of scores on the probe split; those of chosen plans are on it.

    Args:
        data: of a search of an earlier version.
        scores: that are drawn.
    """
    chosen = [selection.chosen for selection in data.selections if selection is not None]
    kept = [score for outcome in chosen for _, score in _finite(outcome.history)]
    return view_of(scores, data.baseline.direction, kept)


def _finite(history: Iterable[tuple[int, float]]) -> list[Pair]:
    return [(float(step), score) for step, score in history if math.isfinite(score)]


def _curve(
    frame: Frame,
    outcome: Outcome,
    history: Sequence[Pair],
    chosen: set[str],
    rows: Mapping[str, str],
) -> TrainingCurve:
    """The curve of a plan.

    Args:
        frame: of the chart.
        outcome: of the plan.
        history: its steps and scores.
        chosen: names of the trials that are chosen.
        rows: ids of the rows in the table of plans, by trial.
    """
    kind = "reference" if outcome.role == "reference" else "trial"
    kind = "chosen" if outcome.trial in chosen else kind
    points = tuple((frame.x(step), frame.y(score)) for step, score in history)
    label = f"{outcome_label(outcome)}: {_listed(history)}"
    return TrainingCurve(kind, label, rows.get(outcome.trial, ""), points)


def _listed(pairs: Iterable[Pair]) -> str:
    return ", ".join(f"{format_score(score)} after {steps:,.0f} steps" for steps, score in pairs)


def _frame(
    baseline: BaselineRecord,
    view: ScoreView,
    steps: Sequence[float],
    split: str,
    *,
    log: bool = True,
) -> Frame:
    """Steps below, scores on the left.

    Args:
        baseline: the float model.
        view: of the scores.
        steps: of all scores.
        split: that was scored.
        log: whether the steps are on a logarithmic axis; then each of them has a mark.
    """
    first, last = min(steps), max(steps)
    low, high = (first / MARGIN, last * MARGIN) if log else (0.0, last * 1.03)
    x = x_scale(max(low, 0.5) if log else low, high, log=log, width=PANEL_WIDTH)
    y = score_scale(view, PANEL_HEIGHT)
    marks = sorted(set(steps)) if log and len(set(steps)) <= 6 else None
    return Frame(
        x=x,
        y=y,
        x_ticks=x.ticks(lambda step: f"{step:,.0f}", marks),
        y_ticks=score_ticks(y),
        x_label="training steps",
        y_label=score_label(baseline, split),
        float_at=None if split == PROBE else float_line(y, baseline),
        width=PANEL_WIDTH,
        height=PANEL_HEIGHT,
    )
