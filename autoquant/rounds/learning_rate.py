"""The learning rate of a search: the largest at which 8 bits are level with the float model."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from autoquant.errors import Diverged
from autoquant.files import write_text
from autoquant.plan import Plan
from autoquant.progress import SILENT, Progress
from autoquant.reading import read_json_file
from autoquant.settings import AUTO, Search
from autoquant.study.folder import with_rate
from autoquant.study.selection import MIN_ERRORS
from autoquant.task import as_loss
from autoquant.training.candidate import StartingPoint
from autoquant.training.rungs import train_rung

CANDIDATES = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)
"""Learning rates that are tried, the largest first."""
ORDERS = 2
"""Data orders of each."""
LEVEL = 2e-3
"""Share of the float model's score that counts as level in any case."""


def with_learning_rate(
    point: StartingPoint,
    plan: Plan,
    float_score: float,
    path: Path,
    progress: Progress = SILENT,
) -> Search:
    """The settings of a search, with a number in place of the learning rate "auto".

    ``plan`` is trained on the short rung with one learning rate after the other, from the largest,
    until its mean score is level with the float model's: within two standard errors or LEVEL. Where
    none is, the one with the best score is taken.

    Args:
        point: the float model and the settings.
        plan: with 8 bits everywhere.
        float_score: score of the float model.
        path: of the file that keeps what was tried; a search that continues reads it.
        progress: is told what is tried and chosen.
    """
    settings = point.settings
    if AUTO not in (settings.qat.lr, settings.final.lr):
        return settings
    known = _tried(path)
    for rate in CANDIDATES:
        if str(rate) not in known:
            known[str(rate)] = _scores(point, plan, rate, progress)
            _write(path, known, None)
        if _is_level(known[str(rate)], float_score, point):
            break
    chosen = _chosen(known, float_score, point)
    _write(path, known, chosen)
    progress.say(
        f"learning rate {chosen:g}: of {', '.join(known)} "
        + _reason(known, chosen, float_score, point)
    )
    return with_rate(settings, chosen)


def _tried(path: Path) -> dict[str, list[float]]:
    """The scores of an earlier call, by learning rate."""
    if not path.is_file():
        return {}
    tried = read_json_file(path)["tried"]
    return {str(rate): [float(score) for score in scores] for rate, scores in tried.items()}


def _write(path: Path, tried: dict[str, list[float]], chosen: float | None) -> None:
    """Write what was tried.

    Args:
        path: of the file.
        tried: scores by learning rate.
        chosen: the learning rate; None while it is not known.
    """
    write_text(path, json.dumps({"tried": tried, "chosen": chosen}, indent=2) + "\n")


def _scores(point: StartingPoint, plan: Plan, rate: float, progress: Progress) -> list[float]:
    """The scores of a plan on the short rung; none where the training diverges.

    Args:
        point: the float model and the settings.
        plan: that is trained.
        rate: learning rate.
        progress: shows how far the trainings are.
    """
    training = point.settings.qat.changed(lr=rate)
    steps = training.length(point.task.steps_per_epoch())
    scores = []
    for order in range(ORDERS):
        label = f"learning rate {rate:g}"
        try:
            candidate = train_rung(
                point, plan, training, steps, order=order, label=label, progress=progress
            )
            progress.say(f"{label}: {point.task.metric} {candidate.score:.5g} (valid)")
        except Diverged as error:
            progress.say(f"{label}: diverged: {error}")
            return []
        scores.append(candidate.score)
    return scores


def _is_level(scores: list[float], float_score: float, point: StartingPoint) -> bool:
    """Whether scores are level with the float model's.

    Args:
        scores: of the data orders; none of a training that diverged.
        float_score: of the float model.
        point: gives the direction.
    """
    if not scores:
        return False
    gap = _loss(scores, point) - as_loss(float_score, point.task.direction)
    error = float(np.std(scores, ddof=1)) / math.sqrt(len(scores)) if len(scores) > 1 else 0.0
    return gap <= max(MIN_ERRORS * error, LEVEL * abs(float_score))


def _loss(scores: list[float], point: StartingPoint) -> float:
    """The mean loss of some scores; infinite where there is none."""
    return as_loss(float(np.mean(scores)), point.task.direction) if scores else math.inf


def _chosen(known: dict[str, list[float]], float_score: float, point: StartingPoint) -> float:
    """The largest learning rate that is level, else the one with the best score.

    Args:
        known: scores by learning rate.
        float_score: of the float model.
        point: gives the direction.
    """
    level = [rate for rate in known if _is_level(known[rate], float_score, point)]
    rates = level or [min(known, key=lambda rate: _loss(known[rate], point))]
    return max(map(float, rates))


def _reason(
    known: dict[str, list[float]], chosen: float, float_score: float, point: StartingPoint
) -> str:
    """Why a learning rate was chosen, for people.

    Args:
        known: scores by learning rate.
        chosen: the learning rate.
        float_score: of the float model.
        point: gives the direction.
    """
    scores = next(values for rate, values in known.items() if float(rate) == chosen)
    if _is_level(scores, float_score, point):
        return "the largest at which 8 bits are level with float"
    return "the best, though 8 bits are worse than float with each"
