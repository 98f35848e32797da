"""Kendall's tau between neighbouring rungs."""

from __future__ import annotations

import pytest

from autoquant.study.rank_agreement import RankAgreement, rank_agreements
from tests.study.test_noise import scored


def test_pairs_of_neighbouring_rungs() -> None:
    outcomes = [
        scored(str(i), (10, 0, short), (40, 0, medium))
        for i, (short, medium) in enumerate([(1, 5), (2, 6), (3, 8), (4, 7)])
    ]
    outcomes.append(scored("9", (10, 0, 0.5)))
    (agreement,) = rank_agreements(outcomes)
    assert agreement == RankAgreement(10, 40, 4, pytest.approx(4 / 6))  # 5 of 6 pairs agree


def test_too_few_plans_say_nothing() -> None:
    outcomes = [scored(str(i), (10, 0, 1.0 + i), (40, 0, 2.0 + i)) for i in range(3)]
    assert rank_agreements(outcomes) == []
