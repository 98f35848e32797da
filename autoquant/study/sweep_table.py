"""Cell: one plan of a sweep with one seed, and the table of what became of the cells."""

from __future__ import annotations

import csv
import fcntl
import hashlib
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from autoquant.errors import UserError
from autoquant.files import write_text
from autoquant.plan import Bits, Plan
from autoquant.study.folder import Study

State = Literal["complete", "diverged", "too large"]


@dataclass(frozen=True)
class SweepRun:
    """What is to be trained.

    Attributes:
        name: in the table.
        plan: None where no plan of this width fits the budget.
        seed: of growth and training.
        start: "baseline" or "scratch".
        weight_bits: of a uniform plan.
        activation_bits: of a plan of the grid.
        width: of a plan of the grid.
        budget: that the plan fills.
    """

    name: str
    plan: Plan | None
    seed: int
    start: str
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
    """What became of a cell.

    Attributes:
        state: "complete", "diverged", or "too large" for its budget.
        valid: score on the valid split.
        test: score on the test split.
        size_bytes: true bytes of the packed file.
        size_share: the same over the float model's.
        paper_share: the paper's neuron-proportional size (cost.neuron_share).
        activation_bytes: read for one position (cost.activation_bytes).
        steps: of training.
        seconds: of training, intermediate scores included.
        reason: why it did not complete, in words.
    """

    cell: SweepRun
    state: State
    valid: float | None = None
    test: float | None = None
    size_bytes: int | None = None
    size_share: float | None = None
    paper_share: float | None = None
    activation_bytes: float | None = None
    steps: int = 0
    seconds: float = 0.0
    reason: str = ""


_OF_CELL = ("name", "start", "seed", "budget", "weight_bits", "activation_bits", "width")
_OWN = tuple(each.name for each in fields(SweepRunResult) if each.name != "cell")
COLUMNS = (*_OF_CELL, *_OWN, "plan")


class SweepTable:
    """``cells.csv`` of a sweep, shared by the processes that work on it.

    Args:
        path: of the file.
        locks: folder of one small file for each cell; who trains the cell holds it. The system
            lets go of what a killed process held.
    """

    def __init__(self, path: Path, locks: Path) -> None:
        self.path, self._locks = path, locks

    @classmethod
    def of(cls, study: Study) -> SweepTable:
        """The table of a study."""
        return cls(study.cells_file, study.path / ".cells")

    def results(self) -> list[SweepRunResult]:
        """What has been recorded, in the order in which it ended.

        Raises:
            UserError: the file is not what a sweep wrote.
        """
        if not self.path.is_file():
            return []
        try:
            return from_csv(self.path.read_text(encoding="utf-8"))
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"'{self.path}' must be as a sweep wrote it") from error

    def by_name(self) -> dict[str, SweepRunResult]:
        """The same, by the cells' names."""
        return {result.cell.name: result for result in self.results()}

    def append(self, result: SweepRunResult) -> None:
        """Record a result."""
        with self.holding("table"):
            write_text(self.path, to_csv([*self.results(), result]))

    @contextmanager
    def holding(self, name: str) -> Iterator[None]:
        """Wait for a lock, and hold it."""
        with self._file(name).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextmanager
    def claimed(self, cell: SweepRun) -> Iterator[bool]:
        """Hold a cell, if no other process does; whether it is held here."""
        with self._file(cell.name).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def checkpoint(self, cell: SweepRun) -> Path:
        """Where a cell's training saves itself; a plan file that is edited begins anew."""
        text = "" if cell.plan is None else cell.plan.to_yaml()
        plan = hashlib.sha256(text.encode()).hexdigest()[:8]
        return self._locks / f"{cell.name}-{plan}.checkpoint"

    def _file(self, name: str) -> Path:
        self._locks.mkdir(parents=True, exist_ok=True)
        return self._locks / f"{name}.lock"


# --- the table -----------------------------------------------------------------------------------


def to_csv(results: list[SweepRunResult]) -> str:
    """The text of ``cells.csv``; a plan is JSON, what does not apply is empty."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(map(_to_row, results))
    return buffer.getvalue()


def _to_row(result: SweepRunResult) -> list[object]:
    plan = result.cell.plan
    values = {**vars(result.cell), **vars(result)}
    values |= {"plan": "" if plan is None else json.dumps(plan.to_dict())}
    values |= {"seconds": round(result.seconds, 2)}
    return ["" if values[name] is None else values[name] for name in COLUMNS]


_WORDS = frozenset({"name", "start", "budget", "state", "reason"})
_FLOATS = frozenset({"width", "valid", "test", "size_share", "paper_share", "activation_bytes"})
_KEPT = frozenset({"reason"})  # may be empty


def from_csv(text: str) -> list[SweepRunResult]:
    """The inverse of to_csv."""
    return [_from_row(row) for row in csv.DictReader(io.StringIO(text))]


def _from_row(row: dict[str, str]) -> SweepRunResult:
    values = {name: _value(name, row[name]) for name in COLUMNS[:-1]}
    plan = Plan.from_dict(json.loads(row["plan"])) if row["plan"] else None
    cell = SweepRun(plan=plan, **{name: values[name] for name in _OF_CELL})
    return SweepRunResult(cell, **{name: values[name] for name in _OWN})


def _value(name: str, text: str) -> Any:
    if name in _WORDS:
        return text if text or name in _KEPT else None
    if not text:
        return None
    whole = text.isdigit() and name not in _FLOATS | {"seconds"}
    return int(text) if whole else float(text)  # 1.6 weight bits are not whole
