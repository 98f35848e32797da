"""The files of a recorded table: its plans, and the scores of their trainings."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from autoquant.files import write_text
from autoquant.space.search_space import Point

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

RUNGS = ("short", "medium", "full")
STEPS_FACTORS = {"short": 1, "medium": 4, "full": 16}
"""Length of a rung in short ones."""


@dataclass(frozen=True)
class PlanRow:
    """A plan of a table.

    Attributes:
        plan: its number.
        kind: why it is in the table: "spread" over all sizes, near a "budget", a "knapsack"
            solution with perturbed sensitivities, "first" of the unperturbed ones, or "uniform".
        budget: share of the float model that it was made for; 0 for none.
        size_bytes: of its packed file.
        bit_ops: of one position.
        point: indices of its choices, such as 0-3-2.
    """

    plan: int
    kind: str
    budget: float
    size_bytes: int
    bit_ops: int
    point: str

    @property
    def indices(self) -> Point:
        """The point of the space."""
        return tuple(map(int, self.point.split("-")))


@dataclass(frozen=True)
class RunRow:
    """A training of a plan.

    Attributes:
        plan: its number.
        order: number of the data order.
        rung: of RUNGS.
        steps: of the training in all.
        loss: on the valid split, infinite where it diverged.
        metric: on the same split.
        seconds: processor time of this rung, without the steps that it shares with a shorter one.
    """

    plan: int
    order: int
    rung: str
    steps: int
    loss: float
    metric: float
    seconds: float


R = TypeVar("R", bound="DataclassInstance")


class TableFolder:
    """The folder of a table.

    Args:
        path: of the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings_file = path / "settings.json"
        self.sensitivity_file = path / "sensitivity.json"
        self.baseline_file = path / "baseline.safetensors"
        self.plans_file = path / "plans.csv"
        self.runs_file = path / "runs.csv"
        self.predictors_file = path / "predictors.json"

    def plans(self) -> list[PlanRow]:
        """All plans, in the order in which they are trained."""
        return read_rows(self.plans_file, PlanRow)

    def write_plans(self, plans: list[PlanRow]) -> None:
        """Write all plans.

        Args:
            plans: in the order in which they are to be trained.
        """
        lines = [_line([field.name for field in fields(PlanRow)])]
        write_text(self.plans_file, "".join(lines + [_line(astuple(plan)) for plan in plans]))

    def runs(self) -> list[RunRow]:
        """The rows so far; an incomplete last line is left out."""
        return read_rows(self.runs_file, RunRow) if self.runs_file.exists() else []

    def append(self, row: RunRow) -> None:
        """Add a row, in one write, so that several processes can.

        Args:
            row: of a training that has ended.
        """
        append_rows(self.runs_file, [row])


def append_rows(path: Path, rows: Sequence[DataclassInstance]) -> None:
    """Add rows to a file, in one write.

    Args:
        path: of the file; a new one gets a head.
        rows: of one type, at least one.
    """
    head = "" if path.exists() else _line([field.name for field in fields(rows[0])])
    lines = "".join(_line(astuple(row)) for row in rows)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, (head + lines).encode())
    finally:
        os.close(descriptor)


def _line(values: Any) -> str:
    """A line of a CSV file; no value needs quotes."""
    return ",".join(f"{v:.7g}" if isinstance(v, float) else str(v) for v in values) + "\n"


def read_rows(path: Path, row_type: type[R]) -> list[R]:
    """The complete rows of a file; an incomplete last line is left out.

    Args:
        path: of the file.
        row_type: dataclass of a row, with fields that are int, float or str.
    """
    text = path.read_text(encoding="utf-8")
    types = {"int": int, "float": float, "str": str}
    converters = [types[str(field.type)] for field in fields(row_type)]
    return [
        row_type(*(convert(v) for convert, v in zip(converters, values, strict=True)))
        for values in csv.reader(text[: text.rfind("\n") + 1].splitlines()[1:])
        if len(values) == len(converters) and values[0] != fields(row_type)[0].name
    ]
