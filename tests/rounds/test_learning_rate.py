"""The largest learning rate at which 8 bits are level with float; kept in the study."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autoquant.errors import Diverged
from autoquant.plan import LayerChoice, Plan
from autoquant.rounds import learning_rate
from autoquant.rounds.learning_rate import CANDIDATES, with_learning_rate
from autoquant.settings import Search, Training
from tests.progress.told import Told

PLAN = Plan({"a": LayerChoice(8, 8)})
SETTINGS = Search(qat=Training(steps=10, lr="auto"), final=Training(steps=40, lr="auto"))


def found(
    scores: dict[float, list[float]], path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Search, list[tuple[float, int]]]:
    """The settings that are found, and the trainings; the float model scores 10.0."""
    trained = []

    def train_rung(point: Any, plan: Plan, training: Training, steps: int, **options: Any) -> Any:
        rate, order = training.learning_rate, options["order"]
        trained.append((rate, order))
        if not scores[rate]:
            raise Diverged("not finite")
        return SimpleNamespace(score=scores[rate][order])

    monkeypatch.setattr(learning_rate, "train_rung", train_rung)
    task = SimpleNamespace(direction="minimize", metric="loss", steps_per_epoch=lambda: 5)
    point: Any = SimpleNamespace(task=task, settings=SETTINGS)
    told = Told()
    settings = with_learning_rate(point, PLAN, 10.0, path, told)
    assert told.lines[-1].startswith(f"learning rate {settings.qat.lr:g}: of ")
    known = [f"loss {scores[rate][order]:.5g} (valid)" for rate, order in trained if scores[rate]]
    assert [line.partition(": ")[2] for line in told.lines if "(valid)" in line] == known
    return settings, trained


def test_the_largest_that_is_level(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = {1e-2: [], 3e-3: [11.0, 11.1], 1e-3: [10.01, 10.02], 3e-4: [9.0, 9.0]}
    settings, trained = found(scores, tmp_path / "lr.json", monkeypatch)
    assert (settings.qat.lr, settings.final.lr) == (1e-3, 1e-3)
    assert trained == [(1e-2, 0), (3e-3, 0), (3e-3, 1), (1e-3, 0), (1e-3, 1)]


def test_the_best_where_none_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = {rate: [20 - rate, 20.01 - rate] for rate in CANDIDATES} | {1e-4: [15.0, 15.01]}
    settings, _ = found(scores, tmp_path / "lr.json", monkeypatch)
    assert settings.qat.lr == 1e-4


def test_what_was_tried_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = {1e-2: [11.0, 11.1], 3e-3: [10.0, 10.0]}
    path = tmp_path / "lr.json"
    path.write_text(json.dumps({"tried": {"0.01": [11.0, 11.1]}, "chosen": None}))
    settings, trained = found(scores, path, monkeypatch)
    assert trained == [(3e-3, 0), (3e-3, 1)]
    assert json.loads(path.read_text())["chosen"] == settings.qat.lr == 3e-3
    assert found(scores, path, monkeypatch)[1] == []


def test_a_number_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fixed = replace(SETTINGS, qat=Training(lr=0.5), final=Training(lr=0.25))
    point: Any = SimpleNamespace(settings=fixed)
    path = tmp_path / "lr.json"
    told = Told()
    assert with_learning_rate(point, PLAN, 1.0, path, told) is fixed
    assert not path.exists()
    assert told.lines == []
