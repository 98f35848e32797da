"""The results of searches and sweeps as plain values, for programs that read them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autoquant.plain_values import plain_values
from autoquant.study.baseline_record import BaselineRecord
from autoquant.study.front import front_of
from autoquant.study.noise import noise_of
from autoquant.study.outcome import Outcome
from autoquant.study.selection import Selection
from autoquant.study.sweep_table import SweepRunResult

_BASELINE = ("score", "test", "size_bytes", "parameters", "steps", "seconds")


def baseline_values(record: BaselineRecord) -> dict[str, Any]:
    """What a result says of the float model.

    Args:
        record: of the float model.
    """
    return {name: getattr(record, name) for name in _BASELINE}


def search_values(
    record: BaselineRecord,
    outcomes: Sequence[Outcome],
    budgets: Sequence[int],
    selections: Sequence[Selection | None],
) -> dict[str, Any]:
    """The trials of a search, what was chosen of them, and the Pareto front.

    Args:
        record: of the float model.
        outcomes: of all trials.
        budgets: in bytes, the largest first.
        selections: for each budget what was chosen.
    """
    rows = _Rows(record, outcomes)
    front = front_of(outcomes, record.direction, record.size_bytes)
    pairs = zip(budgets, selections, strict=True)
    values = {
        "metric": record.metric,
        "direction": record.direction,
        "baseline": baseline_values(record),
        "budgets": [_budget(budget, selection, rows) for budget, selection in pairs],
        "front": [rows.score(point.outcome) for point in front.points],
        "hypervolume": front.hypervolume,
        "trials": [rows.row(outcome) for outcome in outcomes],
    }
    return dict(plain_values(values))


def _budget(budget: int, selection: Selection | None, rows: _Rows) -> dict[str, Any]:
    """What was chosen for a budget.

    Args:
        budget: in bytes.
        selection: of its finalists.
        rows: of the trials.
    """
    values: dict[str, Any] = {
        "budget_bytes": budget,
        "budget_share": budget / rows.record.size_bytes,
        "chosen": None,
        "first": None,
        "gain": None,
        "gain_standard_error": None,
        "level": [],
    }
    if selection is None:
        return values
    return values | {
        "chosen": rows.row(selection.chosen) | {"plan": selection.chosen.plan},
        "first": selection.first.trial,
        "gain": selection.gain.value,
        "gain_standard_error": selection.gain.error,
        "level": [outcome.trial for outcome in selection.level],
    }


class _Rows:
    """The trials of a search as plain values.

    Args:
        record: of the float model.
        outcomes: of all trials; they give the noise.
    """

    def __init__(self, record: BaselineRecord, outcomes: Sequence[Outcome]) -> None:
        self.record = record
        lengths = {outcome.steps for outcome in outcomes}
        self._noise = {steps: noise_of(outcomes, steps) for steps in lengths}

    def score(self, outcome: Outcome) -> dict[str, Any]:
        """The name, the size and the score of a trial.

        Args:
            outcome: of the trial.
        """
        error = self._noise[outcome.steps].error(max(1, len(outcome.by_order())))
        return {
            "trial": outcome.trial,
            "size_bytes": outcome.size_bytes,
            "size_share": outcome.size_bytes / self.record.size_bytes,
            "score": outcome.score,
            "standard_error": None if outcome.score is None else error,
        }

    def row(self, outcome: Outcome) -> dict[str, Any]:
        """The same, and what became of the trial; its plan is left out.

        Args:
            outcome: of the trial.
        """
        return self.score(outcome) | {
            "role": outcome.role,
            "state": outcome.state,
            "reason": outcome.reason,
            "steps": outcome.steps,
            "seconds": outcome.seconds,
        }


def files_of_report(paths: Sequence[Path]) -> dict[str, Any]:
    """The figures of a study, and its page; None where it has none.

    Args:
        paths: what ``report`` wrote.
    """
    page = next((path for path in paths if path.suffix == ".html"), None)
    return {"page": page, "figures": [path for path in paths if path != page]}


def sweep_values(
    record: BaselineRecord, results: Sequence[SweepRunResult], best: SweepRunResult | None
) -> dict[str, Any]:
    """The results of a sweep, and the plan of the best one.

    Args:
        record: of the float model.
        results: of the runs that have ended.
        best: of them, where one has a score.
    """
    values = {
        "metric": record.metric,
        "direction": record.direction,
        "baseline": baseline_values(record),
        "best": None if best is None else _run(best) | {"plan": best.run.plan},
        "results": [_run(result) for result in results],
    }
    return dict(plain_values(values))


def _run(result: SweepRunResult) -> dict[str, Any]:
    """A row for the table of a sweep: what was to be trained, and what came of it."""
    run, rest = dict(vars(result.run)), dict(vars(result))
    del run["plan"], rest["run"]
    return run | rest
