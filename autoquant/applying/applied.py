"""Applied: the result of training a plan in full and packing it, and its record in a study."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from autoquant.artifact import packed_file
from autoquant.artifact.manifest import SizeBreakdown
from autoquant.budget import readable
from autoquant.costs.plan_costs import PlanCosts
from autoquant.errors import UserError
from autoquant.files import write_text
from autoquant.plain_values import plain_values
from autoquant.plan import Plan
from autoquant.reading import read_json_file
from autoquant.settings import Training
from autoquant.study import records
from autoquant.table import Column, Table, Tabular


@dataclass(frozen=True)
class Applied(Tabular):
    """A plan, trained in full and packed.

    Attributes:
        artifact: the packed file.
        plan: bits and widths of every layer.
        metric: name of the scores, such as "perplexity".
        valid: score on the valid split.
        test: score on the test split.
        baseline_valid: the float model's score on the valid split.
        baseline_test: the float model's score on the test split.
        costs: the packed plan's bytes, activations and operations.
        baseline_costs: the float model's; its bytes are those of its tensors.
        steps: training steps.
        seconds: training time.
        breakdown: what the packed file's bytes are; None in results of earlier versions.
        target: the runtime whose files the study's budget limits; None for packed files.
        target_bytes: of the file that export writes for it.
    """

    artifact: Path
    plan: Plan
    metric: str
    valid: float
    test: float
    baseline_valid: float
    baseline_test: float
    costs: PlanCosts
    baseline_costs: PlanCosts
    steps: int
    seconds: float
    breakdown: SizeBreakdown | None = None
    target: str | None = field(default=None, metadata=records.OPTIONAL)
    target_bytes: int | None = field(default=None, metadata=records.OPTIONAL)

    @property
    def tables(self) -> tuple[Table, ...]:
        """The packed plan's scores and costs beside the float model's, and the plan."""
        return _cost_table(self), *self.plan.tables

    @property
    def size_bytes(self) -> int:
        """Bytes of the packed file."""
        return self.costs.size_bytes

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``autoquant apply --json`` writes them."""
        share = self.size_bytes / self.baseline_costs.size_bytes
        return {**plain_values(self), "size_bytes": self.size_bytes, "size_share": share}


def _cost_table(applied: Applied) -> Table:
    """A row for each score and cost."""
    plan, base, metric = applied.costs, applied.baseline_costs, applied.metric
    rows = (
        (f"{metric}, valid", f"{applied.baseline_valid:.4f}", f"{applied.valid:.4f}"),
        (f"{metric}, test", f"{applied.baseline_test:.4f}", f"{applied.test:.4f}"),
        *_sizes(applied),
        ("activations read", readable(base.activation_bytes), readable(plan.activation_bytes)),
        ("MACs", f"{base.macs:,}", f"{plan.macs:,}"),
        ("bit-operations", f"{base.bit_ops:,}", f"{plan.bit_ops:,}"),
    )
    steps = "1 step" if applied.steps == 1 else f"{applied.steps} steps"
    notes = (
        f"trained for {steps}" if applied.steps else "calibrated, not trained",
        *(() if applied.breakdown is None else (f"of the file: {applied.breakdown}",)),
        f"the {'packed ' * bool(applied.target)}file has {plan.size_bytes} bytes, "
        f"{plan.size_bytes / base.size_bytes:.4f}x; "
        "activations and operations are for one position; the paper's neuron-proportional size "
        f"would be {plan.paper_size_ratio:.4f}x",
        f"packed file: {applied.artifact}",
    )
    columns = (Column("", "left"), Column("float baseline"), Column("packed plan"))
    return Table("the packed plan beside the float model", columns, rows, notes)


def _sizes(applied: Applied) -> Iterator[tuple[str, str, str]]:
    """The rows of sizes: of the packed file, and of the file whose size the budget limits."""
    base = readable(applied.baseline_costs.size_bytes)
    packed = readable(applied.costs.size_bytes)
    if applied.target is None or applied.target_bytes is None:
        yield "size", base, packed
    else:
        yield "size, packed file", base, packed
        yield f"size, target={applied.target}", base, readable(applied.target_bytes)


def read_result(folder: Path, plan: Plan, training: Training) -> Applied | None:
    """The result of an earlier call; None where there is none, or one of another plan or training.

    Args:
        folder: of the packed file and of ``result.json``.
        plan: of this call.
        training: of this call.
    """
    artifact, file = folder / "model.safetensors", folder / "result.json"
    try:
        packed_file.read(artifact)
    except UserError:
        return None
    if not file.is_file():
        return None
    try:
        content = read_json_file(file)
        if content.pop("training") != asdict(training):
            return None
        applied = records.from_json(Applied, {**content, "artifact": str(artifact)})
    except (ValueError, KeyError, TypeError, AttributeError):  # not as it was written
        return None
    return applied if applied.plan == plan else None


def write_result(folder: Path, applied: Applied, training: Training) -> None:
    """Write ``result.json``.

    Args:
        folder: of the packed file.
        applied: what was made.
        training: how it was made.
    """
    content = records.to_json(applied)
    del content["artifact"]  # the file beside it
    content |= {"plan": content.pop("plan"), "training": asdict(training)}
    write_text(folder / "result.json", json.dumps(content, indent=2) + "\n")
