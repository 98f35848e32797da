"""A small table whose losses are known sums."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from benchmarks.tabular.evidence import Evidence
from benchmarks.tabular.table import PlanRow, RunRow

LAYERS, CHOICES = ("a", "b", "c"), (1, 2, 4, 8)
WEIGHTS = (100, 200, 400)
FACTORS = (0.2, 1.0, 6.0)
"""True loss increases over the measured ones."""
MEASURED = [0.4, 0.2, 0.05, 0.0]
FACTS: dict[str, Any] = {
    "dimensions": [
        *({"layer": layer, "field": "weight_bits", "choices": CHOICES} for layer in LAYERS),
        {"layer": "a", "field": "width", "choices": (1.0, 2.0)},
    ],
    "float_bytes": 2800.0,
    "float_loss": 1.0,
    "steps": {"short": 20, "medium": 80, "full": 320},
    "budgets": [0.1],
}
PREDICTORS = {
    kind: {f"{layer}.weight_bits": MEASURED for layer in LAYERS}
    for kind in ("alone", "near", "gradient")
}
SHORT_EXTRA = 0.1


def true_loss(point: tuple[int, ...]) -> float:
    return 1.0 + sum(f * MEASURED[i] for f, i in zip(FACTORS, point, strict=False))


def plans() -> list[PlanRow]:
    """All 128 points, the widened ones of twice the first layer's bytes."""
    rows = []
    for number, point in enumerate(product(range(4), range(4), range(4), range(2))):
        counts = (WEIGHTS[0] * (1 + point[3]), *WEIGHTS[1:])
        size = sum(n * CHOICES[i] // 8 for n, i in zip(counts, point, strict=False))
        rows.append(PlanRow(number, "spread", 0.0, size, 1, "-".join(map(str, point))))
    first = min(
        (row for row in rows if row.size_bytes <= 280),
        key=lambda row: sum(MEASURED[i] for i in row.indices[:3]),
    )
    rows[first.plan] = PlanRow(first.plan, "first", 0.1, first.size_bytes, 1, first.point)
    return rows


def evidence(noise: float = 0.0, orders: int = 3) -> Evidence:
    """The table with its noise.

    Args:
        noise: deviation of a score; each order has a shift of its own, too.
        orders: of the data.
    """
    random, runs = np.random.default_rng(0), []
    for plan in plans():
        for order, rung in product(range(orders), ("short", "medium")):
            extra = SHORT_EXTRA if rung == "short" else 0.0
            shift = 0.01 * order if noise else 0.0
            loss = true_loss(plan.indices) + extra + shift + noise * random.standard_normal()
            runs.append(RunRow(plan.plan, order, rung, 20, loss, 0.0, 0.1))
    return Evidence.of(FACTS, PREDICTORS, plans(), runs)
