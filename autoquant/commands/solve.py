"""Solve: the plan for any budget, from what a study has measured, without training."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoquant.analysis.sensitivity import Sensitivity
from autoquant.artifact.stored_space import StoredSpace
from autoquant.budget import Budget, readable
from autoquant.costs.latency_table import LATENCIES
from autoquant.costs.limit import LimitSet, limits_of
from autoquant.errors import UserError
from autoquant.graph.network import Network
from autoquant.plain_values import plain_values
from autoquant.plan import Plan
from autoquant.samplers.integer_program import IntegerProgram
from autoquant.samplers.loss_tables import LossTables
from autoquant.samplers.rung_prediction import RungPrediction
from autoquant.settings import Search
from autoquant.space.reachable import check_reachable, largest_size
from autoquant.space.search_space import Point, SearchSpace, build_space
from autoquant.study.baseline_record import BaselineRecord
from autoquant.study.folder import Study
from autoquant.study.outcome import Outcome
from autoquant.study.result_values import baseline_values
from autoquant.table import Column, Table, Tabular


@dataclass(frozen=True)
class Solution(Tabular):
    """The plan that a study's measurements give for a budget.

    Attributes:
        plan: bits and widths of every layer.
        size_bytes: bytes of its packed file.
        budget_bytes: of the question.
        metric: name of the score.
        predicted: expected score on the study's last rung; None where no plan was trained.
        deviation: standard deviation of the prediction, in the metric's unit.
        baseline: the float model's record.
        trial: name of the trial with this plan; None where it was not trained.
        largest_bytes: of the plans that were considered, whether they fit the budget or not.
    """

    plan: Plan
    size_bytes: int
    budget_bytes: int
    metric: str
    predicted: float | None
    deviation: float | None
    baseline: BaselineRecord
    trial: str | None
    largest_bytes: int | None = None

    @property
    def tables(self) -> tuple[Table, ...]:
        """The prediction beside the float model, and the plan."""
        base = self.baseline
        known = self.predicted is not None
        score = f"{self.predicted:.5g} ± {self.deviation:.2g}" if known else "-"
        share = f"{self.size_bytes / base.size_bytes:.4f}x"
        trained = "was not trained" if self.trial is None else f"is trial {self.trial}"
        rows = (
            ("float baseline", f"{base.score:.5g}", readable(base.size_bytes), "1.0000x"),
            ("solution", score, readable(self.size_bytes), share),
        )
        notes = [f"budget {self.budget_bytes} bytes; predicted, not measured; this plan {trained}"]
        if self.largest_bytes is not None and self.largest_bytes < self.budget_bytes:
            largest = f"the largest has {self.largest_bytes} bytes"
            notes.append(f"the budget is above the size of every plan of the study: {largest}")
        columns = (Column("plan", "left"), *map(Column, (self.metric, "size", "share")))
        heading = f"predicted {self.metric} on the validation split"
        return Table(heading, columns, rows, tuple(notes)), *self.plan.tables

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``autoquant solve --json`` writes them."""
        values = {
            "budget_bytes": self.budget_bytes,
            "largest_bytes": self.largest_bytes,
            "size_bytes": self.size_bytes,
            "size_share": self.size_bytes / self.baseline.size_bytes,
            "metric": self.metric,
            "predicted": self.predicted,
            "deviation": self.deviation,
            "baseline": baseline_values(self.baseline),
            "trial": self.trial,
            "plan": self.plan,
        }
        return dict(plain_values(values))


def solve(study: str | Path | Study, *, budget: str) -> Solution:
    """The plan with the best predicted score within a budget.

    Nothing is trained, and neither the task nor the model is built: the measured sensitivity, as
    far as the trials' scores have corrected it, is minimized by an integer program.

    Args:
        study: the folder of a search.
        budget: as in a search, such as "0.1x"; the study's other limits hold too.

    Raises:
        UserError: the study is none of this version's searches, or no plan fits the budget.
    """
    folder = Study.open(study)
    question = _Question.of(folder, budget)
    point = question.best_point()
    plan = question.space.plan(point)
    prediction = question.prediction
    known = prediction.steps > 0
    score, deviation = prediction.score(point) if known else (None, None)
    names = [o.trial for o in question.outcomes if o.plan == plan and o.role == "search"]
    return Solution(
        plan=plan,
        size_bytes=int(question.limits.budget.of(plan)),
        budget_bytes=int(question.limits.budget.value),
        metric=question.baseline.metric,
        predicted=score,
        deviation=deviation,
        baseline=question.baseline,
        trial=names[0] if names else None,
        largest_bytes=question.largest_bytes,
    )


@dataclass(frozen=True)
class _Question:
    """What a solution follows from.

    Attributes:
        space: of the study.
        limits: with the budget of the question.
        prediction: of scores.
        baseline: the float model's record.
        outcomes: of the study's trials.
    """

    space: SearchSpace
    limits: LimitSet
    prediction: RungPrediction
    baseline: BaselineRecord
    outcomes: tuple[Outcome, ...]

    @classmethod
    def of(cls, folder: Study, budget: str) -> _Question:
        """Read a study.

        Args:
            folder: of a search.
            budget: of the question.
        """
        baseline, settings = folder.baseline(), folder.search_settings()
        LATENCIES.read(folder.latencies_file)
        stored = StoredSpace.read(folder.network_file)
        space = build_space(stored.network, stored.widenable, settings.space, settings.rules)
        limits = _limits(settings, budget, stored.network, baseline)
        check_reachable(space, limits, {})
        file = folder.sensitivity_file
        sensitivity = Sensitivity.read(file) if file.is_file() else None
        tables = LossTables.of(space, sensitivity)
        outcomes = tuple(folder.outcomes())
        prediction = RungPrediction.of(tables, outcomes, baseline.direction)
        return cls(space, limits, prediction, baseline, outcomes)

    @property
    def largest_bytes(self) -> int:
        """Bytes of the largest plan, over the widths that were trained."""
        space, limits = self.space, self.limits
        return max(int(largest_size(space, limits, point)) for point in self._trained_widths())

    def best_point(self) -> Point:
        """The point with the lowest expected loss, over the widths that were trained."""
        model, program = self.prediction.model, IntegerProgram(self.space, self.limits)
        coefficients = model.expected()
        points = [
            program.solve(model.losses(coefficients, point), point)
            for point in self._trained_widths()
        ]
        found = [point for point in points if point is not None]
        if not found:
            raise UserError(f"no plan of the space is within all limits of budget {self.limits}")
        return min(found, key=lambda point: model.predict(point)[0])

    def _trained_widths(self) -> Collection[Point]:
        """A point for each assignment of widths that was trained."""
        observed = (observation.point for observation in self.prediction.model.observations)
        return {self._widths(point): point for point in (self.space.smallest, *observed)}.values()

    def _widths(self, point: Point) -> tuple[int, ...]:
        """The widths of a point."""
        dimensions = self.space.dimensions
        return tuple(i for i, d in zip(point, dimensions, strict=True) if d.field == "width")


def _limits(settings: Search, budget: str, network: Network, baseline: BaselineRecord) -> LimitSet:
    """The limits of a study with another budget.

    Args:
        settings: of the study.
        budget: as it was written.
        network: before widening.
        baseline: the float model's record.
    """
    Budget.parse(budget)
    changed = settings.changed(budget=budget)
    return limits_of(
        changed,
        network,
        float_bytes=baseline.size_bytes,
        parameters=baseline.parameters,
    )
