"""SweepData: what a sweep's study holds, read once for all of its figures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from autoquant.errors import UserError
from autoquant.study.baseline_record import BaselineRecord
from autoquant.study.folder import Study
from autoquant.study.sweep_table import SweepRunResult, SweepTable


@dataclass(frozen=True)
class SweptPlan:
    """One plan of a sweep, with the scores of all of its seeds.

    Attributes:
        name: its runs' name, without the seed.
        budget: that it fills, as it was written.
        weight_bits: of a uniform plan.
        activation_bits: of a plan that is not read from a plan file.
        width: of a plan that is not read from a plan file.
        share: true bytes over those of the float model; None where no plan fits the budget.
        scores: on the valid split, one for each seed that was trained to its end.
        failures: how its other seeds ended: "diverged", "failed" or "too large".
        from_scratch: whether its runs began with new weights instead of the float model's.
        is_uniform: whether all weights have ``weight_bits``; rules may leave layers others.
    """

    name: str
    budget: str | None
    weight_bits: float | None
    activation_bits: int | None
    width: float | None
    share: float | None
    scores: tuple[float, ...]
    failures: tuple[str, ...] = ()
    from_scratch: bool = False
    is_uniform: bool = True

    @property
    def score(self) -> float:
        """The mean score; NaN where no seed has one."""
        return fmean(self.scores) if self.scores else math.nan

    @property
    def deviation(self) -> float:
        """The standard deviation between seeds; 0 of a single one."""
        return stdev(self.scores) if len(self.scores) > 1 else 0.0

    @property
    def init_label(self) -> str:
        """What a label adds about the weights that its runs began with."""
        return ", from scratch" if self.from_scratch else ""

    def text(self, decimals: int) -> str:
        """The score for people, with the deviation on a second line; else how the plan ended.

        Args:
            decimals: of the numbers.
        """
        if not self.scores:
            return self.failures[0]
        deviation = f"\n± {self.deviation:.{decimals}f}" if len(self.scores) > 1 else ""
        failures = f"\n({len(self.failures)} {self.failures[0]})" if self.failures else ""
        return f"{self.score:,.{decimals}f}{deviation}{failures}"


@dataclass(frozen=True)
class SweepData:
    """What the figures of a sweep are drawn from.

    Attributes:
        baseline: the float model.
        plans: in the order in which the first run of each ended.
    """

    baseline: BaselineRecord
    plans: tuple[SweptPlan, ...]

    @property
    def scored(self) -> list[SweptPlan]:
        """The plans that have a score and a size."""
        return [plan for plan in self.plans if plan.scores and plan.share is not None]

    @property
    def seeds(self) -> int:
        """The most seeds that any plan was trained with."""
        return max((len(plan.scores) for plan in self.plans), default=0)


def read_sweep_data(study: Study) -> SweepData:
    """Read what the figures of a sweep need.

    Args:
        study: of a sweep.

    Raises:
        UserError: no run of the sweep has ended.
    """
    results = SweepTable.of(study).results()
    if not results:
        raise UserError(f"a sweep must have runs to report, got none in '{study.path}'")
    return SweepData(study.baseline(), swept_plans(results))


def swept_plans(results: Iterable[SweepRunResult]) -> tuple[SweptPlan, ...]:
    """The plans of a sweep, each with the results of all of its seeds.

    Args:
        results: one for each plan and seed.
    """
    by_plan: dict[str, list[SweepRunResult]] = {}
    for result in results:
        by_plan.setdefault(result.run.group, []).append(result)
    return tuple(_swept_plan(name, of_plan) for name, of_plan in by_plan.items())


def _swept_plan(name: str, results: Sequence[SweepRunResult]) -> SweptPlan:
    run = results[0].run
    scores = [each.valid for each in results]
    scores = [None if score is None or math.isinf(score) else score for score in scores]
    return SweptPlan(
        name=name,
        budget=run.budget,
        weight_bits=run.weight_bits,
        activation_bits=run.activation_bits,
        width=run.width,
        share=results[0].size_share,
        scores=tuple(score for score in scores if score is not None),
        failures=tuple(
            result.state for result, score in zip(results, scores, strict=True) if score is None
        ),
        from_scratch=run.init_from == "scratch",
        is_uniform=run.plan is None or run.plan.has_weight_bits(run.weight_bits),
    )


def sorted_unique(values: Iterable[float | None]) -> list[float]:
    """The values that are not None, each once, in rising order.

    Args:
        values: bits or widths.
    """
    return sorted({value for value in values if value is not None})
