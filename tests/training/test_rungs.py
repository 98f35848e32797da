"""One plan, trained for longer and longer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from autoquant.plan import LayerChoice
from autoquant.settings import Search, Training
from autoquant.training.candidate import Candidate, StartingPoint, train_candidate
from autoquant.training.rungs import train_rung
from tests.toys import language_task, plan_of, prepared
from tests.training.runs import same_weights

TASK = language_task(
    10, 400, batch_size=50, length=4, probe_tokens=50, embedding=4, hidden=8, dropout=0.3
)
TRAINING = Training(lr=0.01, warmup=0.01)


@pytest.fixture(params=[True, False], ids=["trained", "from scratch"])
def starting_point(request: Any) -> StartingPoint:
    torch.manual_seed(0)
    model, network = prepared(TASK.build_model())
    return StartingPoint(TASK, model, network, Search(seed=5), trained=request.param)


def rung(
    start: StartingPoint, steps: int, trunk: Path | None = None, *, bits: float = 3, order: int = 0
) -> Candidate:
    """A rung of a plan with a widened layer.

    Args:
        start: the float model.
        steps: of the training.
        trunk: its file.
        bits: of the weights.
        order: of the data.
    """
    plan = plan_of(start.network, LayerChoice(bits, 4), rnn__l0=1.5)
    return train_rung(start, plan, TRAINING, steps, order=order, trunk=trunk)


def same(one: Candidate, other: Candidate) -> bool:
    return one.score == other.score and same_weights(one.model, other.model)


def test_rungs_from_a_trunk_equal_runs_without(starting_point: StartingPoint, tmp_path: Path):
    trunk, steps = tmp_path / "trunk", []

    def count(result: Any) -> None:
        steps.append(result.step)

    plan = plan_of(starting_point.network, LayerChoice(3, 4), rnn__l0=1.5)
    options: dict[str, Any] = {"trunk": trunk, "on_step": count}
    for total in (40, 160):
        candidate = train_rung(starting_point, plan, TRAINING, total, **options)
        assert candidate.run.steps == total
        assert same(candidate, rung(starting_point, total))
    assert steps == [*range(1, 41), *range(33, 161)]  # of the first rung only the cool-down twice


@pytest.mark.parametrize("change", ["plan", "order", "shorter"])
def test_what_the_trunk_does_not_hold_is_trained_anew(
    starting_point: StartingPoint, tmp_path: Path, change: str
):
    trunk = tmp_path / "trunk"
    first = rung(starting_point, 20, trunk)
    options = {"plan": {"bits": 2}, "order": {"order": 1}, "shorter": {}}[change]
    steps = 10 if change == "shorter" else 40
    other = rung(starting_point, steps, trunk, **options)
    assert same(other, rung(starting_point, steps, **options))
    assert other.score != first.score


def test_order_0_is_that_of_the_seed(starting_point: StartingPoint):
    settings = starting_point.settings
    expected = train_candidate(
        starting_point,
        plan_of(starting_point.network, LayerChoice(3, 4), rnn__l0=1.5),
        replace(TRAINING, steps=12, schedule="constant"),
        label="",
    )
    assert same(rung(starting_point, 12), expected)
    scores = {rung(starting_point, 12, order=order).score for order in range(3)}
    other = replace(starting_point, settings=settings.changed(seed=6))
    assert len(scores | {rung(other, 12).score}) == 4


def test_an_interrupted_rung_leaves_the_trunk_of_the_last_one(
    starting_point: StartingPoint, tmp_path: Path
):
    trunk = tmp_path / "trunk"
    rung(starting_point, 20, trunk)
    kept = trunk.read_bytes()

    def stop(result: Any) -> None:
        if result.step == 25:
            raise KeyboardInterrupt

    plan = plan_of(starting_point.network, LayerChoice(3, 4), rnn__l0=1.5)
    with pytest.raises(KeyboardInterrupt):
        train_rung(starting_point, plan, TRAINING, 40, trunk=trunk, on_step=stop)
    assert trunk.read_bytes() == kept
    assert same(rung(starting_point, 40, trunk), rung(starting_point, 40))
