"""What the figures of a sweep share as data: its plans, each with all of its seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from autoquant.errors import UserError
from autoquant.figures.study_data import number
from autoquant.study.folder import Baseline, Study
from autoquant.study.sweep_table import SweepRunResult, SweepTable


@dataclass(frozen=True)
class Mean:
    """One plan of a sweep, over its seeds.

    Attributes:
        name: its cells' name, without the seed.
        budget: that it fills, as it was written.
        weight_bits: of a uniform plan.
        activation_bits: of a plan of the grid.
        width: of a plan of the grid.
        share: true bytes over those of the float model; None where no plan fits the budget.
        scores: on the valid split, one for each seed that was trained to its end.
        lost: how its other seeds ended: "diverged" or "too large".
        scratch: whether it began with new weights instead of the float model's.
    """

    name: str
    budget: str | None
    weight_bits: float | None
    activation_bits: int | None
    width: float | None
    share: float | None
    scores: tuple[float, ...]
    lost: tuple[str, ...] = ()
    scratch: bool = False

    @property
    def score(self) -> float:
        """The mean score; NaN where no seed has one."""
        return fmean(self.scores) if self.scores else math.nan

    @property
    def spread(self) -> float:
        """The standard deviation between seeds; 0 of a single one."""
        return stdev(self.scores) if len(self.scores) > 1 else 0.0

    @property
    def start(self) -> str:
        """What a label adds on how it began."""
        return ", from scratch" if self.scratch else ""

    @property
    def text(self) -> str:
        """The score for people, with its spread on a second line; else how the plan ended."""
        if not self.scores:
            return self.lost[0]
        spread = f"\n± {self.spread:.2g}" if len(self.scores) > 1 else ""
        lost = f"\n({len(self.lost)} {self.lost[0]})" if self.lost else ""
        return number(self.score) + spread + lost


@dataclass(frozen=True)
class SweepFacts:
    """What a sweep's study says, read once.

    Attributes:
        baseline: the float model.
        means: the plans, in the order in which they ended.
    """

    baseline: Baseline
    means: tuple[Mean, ...]

    @property
    def scored(self) -> list[Mean]:
        """The plans that have a score and a size."""
        return [mean for mean in self.means if mean.scores and mean.share is not None]

    @property
    def seeds(self) -> int:
        """The most seeds that any plan was trained with."""
        return max((len(mean.scores) for mean in self.means), default=0)


def read_sweep(study: Study) -> SweepFacts:
    """Read what the figures need.

    Raises:
        UserError: no cell of the sweep has ended.
    """
    results = SweepTable.of(study).results()
    if not results:
        raise UserError(f"a sweep must have cells to report, got none in '{study.path}'")
    return SweepFacts(study.baseline(), means_of(results))


def means_of(results: Iterable[SweepRunResult]) -> tuple[Mean, ...]:
    """The results, with the seeds of each plan taken together."""
    plans: dict[str, list[SweepRunResult]] = {}
    for result in results:
        plans.setdefault(result.cell.group, []).append(result)
    return tuple(_mean(name, found) for name, found in plans.items())


def _mean(name: str, found: Sequence[SweepRunResult]) -> Mean:
    cell = found[0].cell
    return Mean(
        name,
        cell.budget,
        cell.weight_bits,
        cell.activation_bits,
        cell.width,
        found[0].size_share,
        tuple(each.valid for each in found if each.valid is not None),
        tuple(each.state for each in found if each.valid is None),
        cell.start == "scratch",
    )


def rising(values: Iterable[float | None]) -> list[float]:
    """The values that there are, each once."""
    return sorted({value for value in values if value is not None})
