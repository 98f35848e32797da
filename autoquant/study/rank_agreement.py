"""How well one rung ranks the plans of the next: Kendall's tau."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from scipy.stats import kendalltau

from autoquant.study.outcome import Outcome

MIN_PLANS = 4
"""Plans on both rungs, at least; fewer say nothing."""


@dataclass(frozen=True)
class RankAgreement:
    """How well a rung ranked the next one.

    Attributes:
        lower: training steps of the rung.
        upper: training steps of the next one.
        plans: number of plans on both.
        tau: Kendall's tau-b of their scores, in [-1, 1].
    """

    lower: int
    upper: int
    plans: int
    tau: float


def rank_agreements(outcomes: Iterable[Outcome]) -> list[RankAgreement]:
    """The rank agreement of each pair of neighbouring rungs with enough plans on both.

    Args:
        outcomes: of the proposals of one study.
    """
    means = [dict(outcome.history) for outcome in outcomes if outcome.scores]
    rungs = sorted({steps for scores in means for steps in scores})
    agreements = []
    for lower, upper in pairwise(rungs):
        pairs = [(m[lower], m[upper]) for m in means if lower in m and upper in m]
        if len(pairs) >= MIN_PLANS:
            tau = float(kendalltau(*zip(*pairs, strict=True)).statistic)
            if not math.isnan(tau):
                agreements.append(RankAgreement(lower, upper, len(pairs), tau))
    return agreements
