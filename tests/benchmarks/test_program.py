from __future__ import annotations

import numpy as np
import pytest

from autoquant.samplers import binary_program
from autoquant.samplers.integer_program import IntegerProgram
from benchmarks.program import TOLERANCE, batch, problem


@pytest.mark.slow
def test_a_batch_has_distinct_points_within_the_limits() -> None:
    points = batch(6, 0, TOLERANCE)
    space, limits, _ = problem(6, 0)
    assert len({*points}) == len(points) > 1
    assert all(limits.holds(space.plan(point)) for point in points)


def test_branch_and_bound_gets_few_columns_of_a_hundred_layers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a solve at 100 layers costs follows from the columns that are left."""
    columns: list[int] = []
    milp = binary_program.milp
    monkeypatch.setattr(
        binary_program, "milp", lambda c, **rest: columns.append(len(c)) or milp(c, **rest)
    )
    space, limits, losses = problem(100, 1)
    program = IntegerProgram(space, limits)
    point = program.solve(losses, space.smallest, gap=0.005)
    assert point is not None
    assert limits.holds(space.plan(point))
    assert sum(columns) < 0.2 * (100 * 8 * 4)
    least = sum(float(np.min(loss)) for loss in losses)
    assert sum(loss[c] for loss, c in zip(losses, point, strict=True)) > least
