"""Headroom: what the first plan of a budget could gain at most, if all layers had the most bits."""

from __future__ import annotations

import math
from collections.abc import Sequence

from autoquant.study.noise import Difference, noise_of
from autoquant.study.outcome import Outcome
from autoquant.task import Direction


def headroom(outcomes: Sequence[Outcome], plan: Outcome, direction: Direction) -> Difference | None:
    """How much higher the loss of a plan is than that of the uniform plan with the most bits.

    Compared are mean scores on the rung of that plan, the shortest one.

    Args:
        outcomes: of one study.
        plan: a proposal.
        direction: whether low or high scores are good.

    Returns:
        the difference; None where one of the two has no score there, or the noise is not known.
    """
    most = most_bits(outcomes)
    if most is None or most.score is None or not most.scores:
        return None
    noise = noise_of(outcomes, most.steps)
    one, other = plan.by_order(most.steps), most.by_order()
    if not one or not other or not noise.degrees:
        return None
    value = sum(one.values()) / len(one) - sum(other.values()) / len(other)
    error = math.hypot(noise.error(len(one)), noise.error(len(other)))
    return Difference(value if direction == "minimize" else -value, error)


def most_bits(outcomes: Sequence[Outcome]) -> Outcome | None:
    """The uniform plan with the most bits, which is the first reference; None where there is none.

    Args:
        outcomes: of one study.
    """
    return next((outcome for outcome in outcomes if outcome.role == "reference"), None)
