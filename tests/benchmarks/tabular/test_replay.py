"""Problems, oracles, strategies and what is said about them, on a small table."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.tabular.evidence import without_order_effects
from benchmarks.tabular.problem import Oracle, Problem, Spent, predicted, widths
from benchmarks.tabular.replay import (
    hypervolume,
    is_decidable,
    replay,
    rung_agreement,
)
from benchmarks.tabular.report import report
from benchmarks.tabular.search_replay import loss_tables
from benchmarks.tabular.strategies import STRATEGIES
from tests.benchmarks.tabular import synthetic

PROBLEM = Problem(synthetic.evidence(), 0.1)
NOISY = Problem(synthetic.evidence(0.02), 0.1)
QUICK = [strategy for strategy in STRATEGIES if strategy.name not in ("GP", "TPE", "NSGA-II")]


def test_plans_within_a_budget() -> None:
    sizes = PROBLEM.evidence.sizes
    assert {*PROBLEM.rows.tolist()} == {i for i in range(128) if sizes[i] <= 280 * 1.005}
    assert {*PROBLEM.near.tolist()} == {i for i in PROBLEM.rows.tolist() if sizes[i] >= 266}
    best = min(synthetic.true_loss(PROBLEM.evidence.plans[i].indices) for i in PROBLEM.rows)
    assert PROBLEM.best == pytest.approx(best)


def test_the_best_loss_is_that_of_a_choice_by_other_orders() -> None:
    problem = Problem(synthetic.evidence(0.5), 0.1)
    losses = problem.evidence.losses[problem.rows, :, 1]
    first, second = losses[losses[:, 0].argmin()], losses[losses[:, 1].argmin()]
    expected = (first[1:].mean() + second[[0, 2]].mean()) / 2
    assert problem.best == pytest.approx(expected)
    assert problem.best > losses.mean(1).min()


def test_predictions_are_those_of_the_choices() -> None:
    row = next(i for i, p in enumerate(PROBLEM.evidence.plans) if p.point == "1-3-0-1")
    assert predicted(PROBLEM.evidence, "alone")[row].tolist() == [0.2, 0.0, 0.4]
    assert predicted(PROBLEM.evidence, "alone", 0.5)[row] == pytest.approx([0.2**0.5, 0, 0.4**0.5])
    assert widths(PROBLEM.evidence)[row].tolist() == [1.0]


def test_the_oracle_counts_shared_steps_once() -> None:
    oracle = Oracle(PROBLEM, 300)
    oracle.score(3, "short")
    assert oracle.left == 280
    oracle.score(3, "medium")  # 16 of the short run's steps were before its cool-down
    assert oracle.left == 280 - 64
    oracle.score(3, "medium", 1)
    assert oracle.left == 280 - 64 - 80
    assert oracle.orders == {3: {0, 1}}
    oracle.score(4, "medium")
    with pytest.raises(Spent):
        oracle.score(5, "medium")
    assert not oracle.has(3, 3)
    assert not oracle.has(3, 0, "full")


def test_what_data_orders_share_is_no_noise() -> None:
    evidence = NOISY.evidence
    assert evidence.noise("medium") == pytest.approx(0.02, rel=0.25)  # the shift is 0.01, 0.02


def test_the_shift_of_a_data_order_is_that_of_good_plans() -> None:
    losses = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])[:, None] + np.array([0.0, 0.5])
    losses[4:, 1] += 3.0  # bad plans suffer more
    losses[3, 1] = np.nan
    kept = without_order_effects(losses[:, :, None])[:, :, 0]
    assert kept[:, 0].tolist() == losses[:, 0].tolist()
    expected = [1, 2, 3, np.nan, 8, 9]
    assert kept[:, 1] == pytest.approx(np.array(expected), nan_ok=True)


def test_held_out_means_leave_out_what_was_seen() -> None:
    losses = NOISY.evidence.losses[5, :, 1]
    assert NOISY.mean_loss(5) == pytest.approx(losses.mean())
    assert NOISY.mean_loss(5, frozenset({0})) == pytest.approx(losses[1:].mean())
    assert NOISY.mean_loss(5, frozenset({0, 1, 2})) == pytest.approx(losses.mean())


def test_hypervolume_by_counting() -> None:
    random = np.random.default_rng(0)
    sizes, losses = random.integers(0, 20, 12).astype(float), random.integers(0, 20, 12)
    dominated = sum(
        any(s <= x and loss <= y for s, loss in zip(sizes, losses, strict=True))
        for x in range(18)
        for y in range(15)
    )
    assert hypervolume(sizes, losses.astype(float), (18.0, 15.0)) == dominated


def test_rungs_of_a_table_without_noise_agree() -> None:
    assert rung_agreement(PROBLEM.evidence) == {"short to medium": pytest.approx(1.0)}
    assert rung_agreement(NOISY.evidence)["short to medium"] < 0.99


def test_a_table_of_noise_cannot_decide() -> None:
    assert is_decidable(NOISY)
    assert not is_decidable(Problem(synthetic.evidence(2.0), 0.1))


@pytest.mark.parametrize("strategy", QUICK, ids=lambda strategy: strategy.name)
def test_strategies_choose_within_the_budget_and_the_steps(strategy) -> None:
    replays = [replay(NOISY, strategy, seed) for seed in range(2)]
    limit = round(0.05 * NOISY.evidence.steps)
    assert all(one.choice in NOISY.rows for one in replays)
    assert all(0 <= one.steps <= limit for one in replays)
    assert replay(NOISY, strategy, 0) == replays[0]


def test_the_search_finds_the_best_plan_where_the_sensitivity_is_wrong(monkeypatch):
    monkeypatch.setattr("benchmarks.tabular.replay.SHARE_OF_STEPS", 0.25)
    first = next(strategy for strategy in STRATEGIES if "trial 0" in strategy.name)
    search = next(strategy for strategy in STRATEGIES if strategy.name == "search")
    assert replay(PROBLEM, first, 0).regret > 0.2
    assert replay(PROBLEM, search, 0).regret == pytest.approx(0.0, abs=1e-9)


def test_the_loss_tables_are_those_of_the_predictors() -> None:
    tables = loss_tables(PROBLEM.evidence, "alone")
    assert tables.features((1, 3, 0, 1)).tolist() == [0.1, 0.0, 0.4, 0.0]  # of twice the units


def test_the_report_has_a_row_for_each_budget_and_strategy() -> None:
    chosen = [strategy for strategy in STRATEGIES if strategy.seeds == 1]
    text = report(NOISY.evidence, chosen)
    assert all(strategy.name in text for strategy in chosen)
    assert "| 0.1x |" in text
