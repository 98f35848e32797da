"""AppliedResult: what ``apply`` recorded beside a packed file, read for the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoquant.errors import UserError, shown
from autoquant.plan import Plan
from autoquant.reading import read_json_file
from autoquant.study.folder import Study


@dataclass(frozen=True)
class AppliedResult:
    """A plan that was trained in full and packed.

    Attributes:
        name: of its folder, such as "trial-10".
        artifact: the packed file.
        plan: bits and widths of every layer.
        size_bytes: of the packed file.
        steps: training steps.
        valid: score on the valid split.
        test: score on the test split.
        float_valid: the float model's score on the valid split.
        float_test: the float model's score on the test split.
    """

    name: str
    artifact: Path
    plan: Plan
    size_bytes: int
    steps: int
    valid: float
    test: float
    float_valid: float
    float_test: float

    def label(self, names: Mapping[Plan, str]) -> str:
        """What was applied: a trial by its name, another plan as the study calls it.

        Args:
            names: of the plans of the study.
        """
        name = self.name.removesuffix("-scratch")
        if name.startswith("trial-"):
            return name.replace("-", " ", 1)
        return names.get(self.plan, name)

    @property
    def init_label(self) -> str:
        """What a label adds where the plan was trained from scratch instead of as the study did."""
        return ", from scratch" if self.name.endswith("-scratch") else ""


def applied_results(study: Study) -> tuple[AppliedResult, ...]:
    """The results of all plans of a study that were applied, by name.

    Args:
        study: of a search or a sweep.

    Raises:
        UserError: a file is not what ``apply`` wrote.
    """
    files = sorted(study.applied("").glob("*/result.json"))
    return tuple(_read(file) for file in files)


def _read(file: Path) -> AppliedResult:
    try:
        content: dict[str, Any] = read_json_file(file)
        return AppliedResult(
            name=file.parent.name,
            artifact=file.parent / "model.safetensors",
            plan=Plan.from_dict(content["plan"]),
            size_bytes=int(content["costs"]["size_bytes"]),
            steps=int(content["steps"]),
            valid=float(content["valid"]),
            test=float(content["test"]),
            float_valid=float(content["baseline_valid"]),
            float_test=float(content["baseline_test"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"'{file}' must be as apply wrote it, got {shown(error)}") from error
