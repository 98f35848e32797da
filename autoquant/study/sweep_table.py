"""SweepRun: one plan of a sweep with one seed; SweepTable: the results of a sweep's runs."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

from autoquant.errors import UserError
from autoquant.files import write_text
from autoquant.plan import Bits, Plan
from autoquant.study import records
from autoquant.study.folder import Study

RunState = Literal["complete", "diverged", "failed", "too large"]


@dataclass(frozen=True)
class SweepRun:
    """One training of a sweep: what is to be trained.

    Attributes:
        name: in the table.
        plan: None where no plan of this width fits the budget.
        seed: of growth and training.
        init_from: what it is trained from: "baseline" or "scratch".
        weight_bits: of all weights, for a uniform plan.
        activation_bits: of all activations, for a plan of the grid.
        width: neuron multiplier of the layers that may grow, for a plan of the grid.
        budget: the budget that the plan fills, as the user wrote it.
    """

    name: str
    plan: Plan | None
    seed: int
    init_from: str
    weight_bits: Bits | None = None
    activation_bits: int | None = None
    width: float | None = None
    budget: str | None = None

    @property
    def group(self) -> str:
        """Its name without the seed."""
        return self.name.removesuffix(f"-seed{self.seed}")


@dataclass(frozen=True)
class SweepRunResult:
    """What came of a run.

    Attributes:
        run: what was to be trained.
        state: "complete", "diverged", "failed" (not enough memory, for example), or "too large" for
            its budget.
        valid: score on the valid split.
        test: score on the test split.
        size_bytes: true bytes of the packed file.
        size_share: the same over the bytes of the float model's tensors.
        paper_size_ratio: the paper's size over the float model's (costs.paper_size_ratio).
        activation_bytes: bytes of activations read for one position (costs.activation_memory).
        steps: training steps.
        seconds: wall-clock seconds, scoring included, of the call in which the run ended.
        reason: why it did not complete, in words.
    """

    run: SweepRun
    state: RunState
    valid: float | None = None
    test: float | None = None
    size_bytes: int | None = None
    size_share: float | None = None
    paper_size_ratio: float | None = None
    activation_bytes: float | None = None
    steps: int = 0
    seconds: float = 0.0
    reason: str = ""


_RUN_COLUMNS = ("name", "init_from", "seed", "budget", "weight_bits", "activation_bits", "width")
_RESULT_COLUMNS = tuple(field.name for field in fields(SweepRunResult) if field.name != "run")
COLUMNS = (*_RUN_COLUMNS, *_RESULT_COLUMNS, "plan")


class SweepTable:
    """The table of a sweep's results; the process that holds the study's lock writes it.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, study: Study) -> SweepTable:
        """The table of a study.

        Args:
            study: of a sweep.
        """
        return cls(study.runs_file)

    def results(self) -> list[SweepRunResult]:
        """What has been recorded, in the order in which the runs ended.

        Raises:
            UserError: the file is not what a sweep wrote.
        """
        if not self.path.is_file():
            return []
        try:
            return from_csv(self.path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(
                f"'{self.path}' must be as a sweep wrote it; restore it, or remove it: then its "
                "runs are trained again"
            ) from error

    def by_name(self) -> dict[str, SweepRunResult]:
        """The same, by the runs' names."""
        return {result.run.name: result for result in self.results()}

    def append(self, result: SweepRunResult) -> None:
        """Record a result.

        Args:
            result: of a run that is not in the table yet.
        """
        write_text(self.path, to_csv([*self.results(), result]))


# --- the table -----------------------------------------------------------------------------------


def to_csv(results: list[SweepRunResult]) -> str:
    """The text of ``runs.csv``; a plan is JSON, what does not apply is empty.

    Args:
        results: in the order of the rows.
    """
    rounded = (replace(result, seconds=round(result.seconds, 2)) for result in results)
    return records.to_csv(COLUMNS, map(records.to_row, rounded))


def from_csv(text: str) -> list[SweepRunResult]:
    """The results of ``runs.csv``: the inverse of to_csv.

    Args:
        text: of the file.

    Raises:
        ValueError: the text is not what to_csv wrote.
    """
    return records.from_csv(SweepRunResult, text)
