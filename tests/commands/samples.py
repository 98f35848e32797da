"""Results of commands that several tests share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from autoquant.applying.applied import Applied
from autoquant.artifact.manifest import SizeBreakdown
from autoquant.costs.plan_costs import PlanCosts
from tests.figures.samples import FLOAT_BYTES, PLAN

COSTS = PlanCosts(290_000, 1_200, 5_000_000, 80_000_000, 0.1234)
APPLIED = Applied(
    artifact=Path("runs/one/applied/plan-1/model.safetensors"),
    plan=PLAN,
    metric="perplexity",
    valid=38.25,
    test=37.5,
    baseline_valid=38.0,
    baseline_test=37.25,
    costs=COSTS,
    baseline_costs=replace(COSTS, size_bytes=FLOAT_BYTES, macs=4_000_000),
    steps=10,
    seconds=1.0,
    breakdown=SizeBreakdown(2_000, 280_000, 7_000, 1_000, 0),
)
