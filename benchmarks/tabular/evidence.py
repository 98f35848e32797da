"""Evidence: a recorded table as arrays, and what can be said about its noise."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.tabular.table import RUNGS, STEPS_FACTORS, PlanRow, RunRow, TableFolder

Floats = NDArray[np.float64]
WORST = 10.0
"""Loss of a training that diverged."""


@dataclass(frozen=True)
class Evidence:
    """A recorded table.

    Attributes:
        facts: of ``settings.json``.
        predictors: loss increases by kind, dimension and choice, measured before training.
        plans: that have a medium score in the first data order.
        losses: [plans, orders, rungs], NaN where nothing was recorded. The mean differences between
            data orders, which all plans share, are removed.
    """

    facts: dict[str, Any]
    predictors: dict[str, dict[str, list[float]]]
    plans: tuple[PlanRow, ...]
    losses: Floats = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> Evidence:
        """Read the folder of a table, complete or not.

        Args:
            path: of the folder.
        """
        folder = TableFolder(path)
        facts = json.loads(folder.settings_file.read_text())
        predictors = json.loads(folder.predictors_file.read_text())
        return cls.of(facts, predictors, folder.plans(), folder.runs())

    @classmethod
    def of(
        cls, facts: dict[str, Any], predictors: Any, plans: list[PlanRow], runs: list[RunRow]
    ) -> Evidence:
        """The evidence of rows.

        Args:
            facts: of the table.
            predictors: by kind, dimension and choice.
            plans: of the table.
            runs: of the plans.
        """
        medium = {run.plan for run in runs if (run.order, run.rung) == (0, "medium")}
        kept = tuple(plan for plan in plans if plan.plan in medium)
        index = {plan.plan: i for i, plan in enumerate(kept)}
        orders = 1 + max((run.order for run in runs), default=0)
        losses = np.full((len(kept), orders, len(RUNGS)), np.nan)
        for run in runs:
            if run.plan in index:
                rung = RUNGS.index(run.rung)
                losses[index[run.plan], run.order, rung] = min(run.loss, WORST)
        return cls(facts, predictors, kept, without_order_effects(losses))

    @cached_property
    def points(self) -> NDArray[np.int64]:
        """Indices of the choices, [plans, dimensions]."""
        return np.array([plan.indices for plan in self.plans])

    @cached_property
    def sizes(self) -> Floats:
        """Bytes of each plan."""
        return np.array([plan.size_bytes for plan in self.plans], float)

    @property
    def dimensions(self) -> list[dict[str, Any]]:
        """Layer, field and choices of each dimension."""
        dimensions: list[dict[str, Any]] = self.facts["dimensions"]
        return dimensions

    @property
    def steps(self) -> int:
        """Steps of the table: every plan once, up to the medium rung."""
        return len(self.plans) * self.cost("medium")

    def cost(self, rung: str, reached: str | None = None) -> int:
        """Steps that a rung takes: those since the cool-down of the one before, and the cool-down.

        Args:
            rung: its name.
            reached: the rung that the plan has reached; None where it has not been trained.
        """
        short = self.facts["steps"]["short"]
        shared = 0 if reached is None else round(0.8 * short * STEPS_FACTORS[reached])
        return int(short * STEPS_FACTORS[rung]) - shared

    def noise(self, rung: str) -> float:
        """Standard deviation of a score between data orders, of plans with several; robust.

        Args:
            rung: its name.
        """
        losses = self.losses[:, :, RUNGS.index(rung)]
        repeated = losses[(~np.isnan(losses)).sum(1) >= 2]
        if len(repeated) < 3:
            return float("nan")
        counts = (~np.isnan(repeated)).sum(1)
        variances = np.nanvar(repeated, axis=1) * counts / (counts - 1)
        return float(np.sqrt(np.mean(np.sort(variances)[: -(len(variances) // 10) or None])))


def without_order_effects(losses: Floats) -> Floats:
    """Losses without what good plans share in a data order; bad ones differ by more than that.

    Args:
        losses: [plans, orders, rungs], with NaN.
    """
    corrected = losses.copy()
    for order in range(1, losses.shape[1]):
        for rung in range(losses.shape[2]):
            pairs = losses[:, [0, order], rung]
            pairs = pairs[~np.isnan(pairs).any(1)]
            if len(pairs) >= 5:
                means = pairs.mean(1)  # of both orders, so that the choice favours neither
                good = pairs[means <= np.median(means)]
                corrected[:, order, rung] -= np.median(good[:, 1] - good[:, 0])
    return corrected
