from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from autoquant.progress import TrialRow
from autoquant.progress.interface import SilentProgress
from autoquant.study import live_trials
from autoquant.study.live_trials import LiveTrials
from autoquant.study.outcome import Outcome
from tests.study.test_trial_lines import RECORD, outcome


class Shown(SilentProgress):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.rows: Sequence[TrialRow] = ()
        self.lines: list[str] = []

    def show(self, rows: Sequence[TrialRow], line: str) -> None:
        self.rows = rows
        self.lines.append(line)


def test_a_line_for_each_training_and_rows_at_the_end() -> None:
    known, shown = [outcome("0"), outcome("1")], Shown()
    live = LiveTrials(shown, RECORD, lambda: known, lambda outcomes: outcomes[:1])
    known[0] = outcome("0", 21.0, 22.0)
    live.changed(known[0], "1 of 2 trainings")
    known[1] = outcome("1", 20.0)
    live.changed(known[1], "2 of 2 trainings")
    known[1] = replace(known[1], state="pruned")
    live.changed(known[1], "2 of 2 trainings")
    assert ["21.5 ± 0.5" in shown.lines[0], "[1 of 2 trainings]" in shown.lines[0]] == [True, True]
    assert "20 ± 0.71" in shown.lines[1]
    assert shown.lines[2] == ""  # no training has ended
    live.finish()
    assert [(row.name, row.state, row.chosen) for row in shown.rows] == [
        ("float", "", False),
        ("0", "scored", True),
        ("1", "pruned", False),
    ]


def test_a_score_costs_the_same_with_many_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """All trials are looked at by the table alone, which is made now and then."""
    looked, made = [0], [0]
    trials: list[Outcome] = []

    def outcomes() -> list[Outcome]:
        looked[0] += 1
        return trials

    def rows(*_: object) -> list[TrialRow]:
        made[0] += 1
        return []

    class Never:
        """A throttle whose work is never due."""

        def __init__(self, work: object) -> None:
            pass

        def ask(self) -> None:
            pass

    monkeypatch.setattr(live_trials, "search_rows", rows)
    monkeypatch.setattr(live_trials, "Throttle", Never)
    live = LiveTrials(Shown(), RECORD, outcomes, lambda _: [])
    for number in range(500):
        trials.append(outcome(str(number), 20.0, 21.0))
        live.changed(trials[-1], "")
    assert (looked[0], made[0]) == (1, 0)  # once, when it was made
