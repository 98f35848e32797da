"""RunningNoise: the noise on each rung, kept up to date while scores come in."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from autoquant.study.noise import Noise
from autoquant.study.outcome import Outcome


class RunningNoise:
    """What ``noise_of`` gives, without looking at all trials again.

    Args:
        outcomes: that are known already.
    """

    def __init__(self, outcomes: Iterable[Outcome] = ()) -> None:
        self._groups: dict[tuple[int, str, str], tuple[int, float]] = {}  # degrees, squares
        self._sums: dict[int, tuple[int, float]] = {}
        for outcome in outcomes:
            for steps in {steps for steps, _, _ in outcome.scores}:
                self._update(outcome, steps)

    def update(self, outcome: Outcome) -> None:
        """Take in the scores of a trial on its last rung.

        Args:
            outcome: of the trial.
        """
        self._update(outcome, outcome.steps)

    def on(self, steps: int) -> Noise:
        """The noise on a rung.

        Args:
            steps: of the rung.
        """
        degrees, squares = self._sums.get(steps, (0, 0.0))
        return Noise(math.sqrt(max(squares, 0.0) / degrees) if degrees else math.nan, degrees)

    def _update(self, outcome: Outcome, steps: int) -> None:
        """Take in the scores of a trial on one rung.

        Args:
            outcome: of the trial.
            steps: of the rung.
        """
        scores = np.array([*outcome.by_order(steps).values()])
        if len(scores) < 2:
            return
        key = (steps, outcome.role, outcome.trial)
        old, degrees = self._groups.get(key, (0, 0.0)), len(scores) - 1
        squares = float(((scores - scores.mean()) ** 2).sum())
        self._groups[key] = (degrees, squares)
        known = self._sums.get(steps, (0, 0.0))
        self._sums[steps] = (known[0] + degrees - old[0], known[1] + squares - old[1])
