"""When things happen in a training run: the learning rate, intermediate scores, recalibrations."""

from __future__ import annotations

import math

RECALIBRATIONS = 16
"""How often all scales are recalibrated in the first half of a run that starts from scratch."""
COOL_DOWN_SHARE = 0.2
"""Share of the steps over which the learning rate of the schedule "constant" falls to zero."""
WARMUP_LENGTH = 1000
"""Steps of which ``Training.warmup`` is a share, with the schedule "constant"."""


def learning_rate_factor(step: int, total: int, warmup: float, schedule: str = "cosine") -> float:
    """The learning rate at a step as a share of its peak.

    A linear warm-up, then a fall: "cosine" to zero (Loshchilov & Hutter 2017, section 3, without
    restarts), "steps" to 0.1 after 40% of the run and to 0.01 after 80% (He et al. 2016),
    "constant" in a line to zero after ``cool_down_start`` (Hägele et al. 2024, section 3).

    Args:
        step: number of the step, from 0.
        total: steps of the run.
        warmup: share of the steps over which the learning rate rises, in [0, 1); with "constant"
            a share of WARMUP_LENGTH, so that nothing before the fall depends on ``total``.
        schedule: "cosine", "steps" or "constant".

    Returns:
        a number in [0, 1].
    """
    warmup_steps = warmup * (WARMUP_LENGTH if schedule == "constant" else total)
    rise = min(1.0, (step + 1) / (warmup_steps + 1))
    if schedule == "constant":
        cool_down_steps = total - cool_down_start(total)
        return min(rise, (total - step) / (cool_down_steps + 1))
    if step < warmup_steps:
        return rise
    if schedule == "steps":  # whole numbers: 0.4 * total may be rounded down
        return 1.0 if 10 * step < 4 * total else 0.1 if 10 * step < 8 * total else 0.01
    progress = min(1.0, (step - warmup_steps) / max(1.0, total - warmup_steps))
    return 0.5 * (1 + math.cos(math.pi * progress))


def cool_down_start(total: int) -> int:
    """Steps of a run before the learning rate of the schedule "constant" falls.

    Args:
        total: steps of the run.
    """
    return round((1 - COOL_DOWN_SHARE) * total)


def score_steps(total: int, count: int) -> set[int]:
    """Steps after which an intermediate score is due: evenly spaced, never the last.

    Args:
        total: steps of the run.
        count: how many scores are asked for; a short run has fewer.
    """
    return {round(total * i / (count + 1)) for i in range(1, count + 1)} - {0, total}


def recalibration_steps(total: int, schedule: str = "cosine") -> set[int]:
    """Steps after which scales are recalibrated: RECALIBRATIONS of them, in the first half.

    With the schedule "constant" they do not depend on the length: powers of the root of 2, before
    the learning rate falls.

    Args:
        total: steps of the run. A run with fewer than 2 * RECALIBRATIONS has one after every step
            of its first half.
        schedule: "cosine", "steps" or "constant".
    """
    numbers = range(1, RECALIBRATIONS + 1)
    if schedule == "constant":
        return {round(2 ** (i / 2)) for i in numbers} & {*range(cool_down_start(total) + 1)}
    return {round(total * i / (2 * RECALIBRATIONS)) for i in numbers}
