"""BinaryProgram: the cheapest choice of one column of every block, within linear limits.

Solved with HiGHS (``scipy.optimize.milp``). The linear relaxation comes first: a column whose
reduced cost is above the distance between the relaxation and a solution is in no better solution
(reduced-cost fixing: Kellerer, Pferschy and Pisinger 2004, section 11.5). So only a core of columns
is given to the branch and bound, and the result is still optimal.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import csr_array, vstack

Vector = NDArray[np.float64]
SCALE = 1e3  # of right sides and of the objective: 1e-9 of it is the solver's tolerance
CORE = 1.25  # columns for each block that the first core has
INFEASIBLE = 2  # status of scipy's solvers


@dataclass(frozen=True)
class BinaryProgram:
    """Columns in blocks, of which a solution has exactly one each, and rows that it keeps to.

    Attributes:
        equal: coefficients of the rows that have a value, [rows, columns]; the blocks first.
        values: of these rows, [rows].
        below: coefficients of the rows that have a largest value, [rows, columns].
        limits: of these rows, [rows].
    """

    equal: Any
    values: Vector
    below: Any
    limits: Vector

    def with_row(self, row: Vector, limit: float) -> BinaryProgram:
        """The same program with one limit more.

        Args:
            row: coefficients, [columns].
            limit: the largest value of their sum over a solution.
        """
        below = vstack([self.below, csr_array(row[None])], format="csr")
        return BinaryProgram(self.equal, self.values, below, np.append(self.limits, limit))

    def solve(self, objective: Vector, gap: float = 0.0) -> Vector | None:
        """The solution with the least objective, of ones and zeros; None where there is none.

        Args:
            objective: of each column, [columns].
            gap: by which share a solution may be above the least objective.
        """
        with _stdout_silenced():
            relaxed = self._relaxed(objective)
            return None if relaxed is None else self._solve_core(objective, *relaxed, gap)

    def bound(self, objective: Vector) -> float | None:
        """The least objective of the relaxation, which no solution is below; None where none is.

        Args:
            objective: of each column, [columns].
        """
        with _stdout_silenced():
            relaxed = self._relaxed(objective)
            return None if relaxed is None else relaxed[0]

    def _relaxed(self, objective: Vector) -> tuple[float, Vector] | None:
        """The least objective with fractions of columns, and the columns' reduced costs.

        Args:
            objective: of each column.
        """
        unit = float(np.abs(objective).max(initial=0.0)) or 1.0
        for _ in range(2):  # again where the optimum is so small that tolerances would matter
            rows, limits = _scaled(self.below, self.limits)
            result = linprog(
                objective * (SCALE / unit),
                A_ub=rows,
                b_ub=limits,
                A_eq=self.equal,
                b_eq=self.values,
                method="highs",
            )
            if result.status == INFEASIBLE:
                return None
            if result.status:
                raise RuntimeError(f"HiGHS: {result.message}")
            least = float(result.fun) * unit / SCALE
            reduced = np.maximum(result.lower.marginals, 0.0) * (unit / SCALE)
            if not 0 < abs(least) < unit / SCALE:
                break
            unit = abs(least)
        return least, reduced

    def _solve_core(
        self, objective: Vector, least: float, reduced: Vector, gap: float
    ) -> Vector | None:
        """The best solution, from the columns that can be part of it.

        Args:
            objective: of each column.
            least: of the relaxation.
            reduced: costs of the columns.
            gap: see ``solve``.
        """
        count = int(CORE * len(self.values)) + len(self.limits)
        while True:
            threshold = float(np.sort(reduced)[min(count, len(reduced)) - 1])
            chosen = self._solve_columns(objective, reduced <= threshold, gap)
            if chosen is not None or count >= len(reduced):
                break
            count *= 2
        if chosen is None:
            return None
        distance = float(objective @ chosen) - least
        if distance <= max(threshold, gap * abs(least)):
            return chosen
        better = self._solve_columns(objective, reduced <= distance * (1 + 1e-9), gap)
        return chosen if better is None else better

    def _solve_columns(
        self, objective: Vector, kept: NDArray[np.bool_], gap: float
    ) -> Vector | None:
        """The best solution of some columns; None where they have none.

        Args:
            objective: of each column.
            kept: which columns it may have.
            gap: see ``solve``.
        """
        columns = np.flatnonzero(kept)
        rows, limits = _scaled(self.below, self.limits)
        costs = objective[columns]
        result = milp(
            costs * (SCALE / (float(np.abs(costs).max(initial=0.0)) or 1.0)),
            integrality=np.ones(len(columns)),
            bounds=Bounds(0, 1),
            constraints=[
                LinearConstraint(self.equal[:, columns], self.values, self.values),
                LinearConstraint(rows[:, columns], -np.inf, limits),
            ],
            options={"mip_rel_gap": gap},
        )
        if result.status == INFEASIBLE:
            return None
        if result.x is None:
            raise RuntimeError(f"HiGHS: {result.message}")
        solution = np.zeros(len(objective))
        solution[columns] = np.round(result.x)
        return solution


def _scaled(rows: Any, limits: Vector) -> tuple[Any, Vector]:
    """Rows and their limits, with limits of SCALE, or coefficients up to it where a limit is 0.

    Args:
        rows: coefficients, [rows, columns].
        limits: of the rows.
    """
    largest = abs(rows).max(axis=1).toarray().ravel() if rows.shape[1] else np.zeros(len(limits))
    units = np.where(limits == 0, largest, np.abs(limits))
    factors = SCALE / np.where(units == 0, 1.0, units)
    return rows.multiply(factors[:, None]).tocsr(), limits * factors


@contextmanager
def _stdout_silenced() -> Iterator[None]:
    """Discard what the solver's C code writes to the process's standard output.

    HiGHS 1.8 to 1.11 print a line now and then, whatever its options say.
    """
    with suppress(ValueError, OSError):
        sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:  # the process has no standard output
        yield
        return
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    try:
        yield
    finally:
        with suppress(OSError, TypeError):  # Windows has no such handle
            ctypes.CDLL(None).fflush(None)
        os.dup2(kept, 1)
        os.close(kept)
        os.close(sink)
