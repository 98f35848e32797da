"""TaskFingerprint: by what a study recognises the task, so that scores of two are never mixed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

VALUE_TOLERANCE = 1e-4
"""Largest difference of data that two machines compute, over the largest value."""
OUTPUT_TOLERANCE = 5e-3
"""The same of a model's outputs: devices may multiply in lower precision."""
SCORE_TOLERANCE = 1e-3
"""Largest relative difference between scores of one float model on two machines."""


@dataclass(frozen=True)
class TensorsFingerprint:
    """Tensors and other values, in a nested structure.

    Attributes:
        digest: of all that is no real number: structure, shapes, types, whole numbers, texts.
        values: means and some members of the tensors of real numbers.
    """

    digest: str
    values: tuple[float, ...]

    def is_near(self, other: TensorsFingerprint, tolerance: float) -> bool:
        """Whether two are of the same values, as two machines compute them.

        Args:
            other: of other values.
            tolerance: largest difference, over the largest value.
        """
        return self.digest == other.digest and _are_near(self.values, other.values, tolerance)


@dataclass(frozen=True)
class TaskFingerprint:
    """What a task does with the float model of a study; None for what is never twice the same.

    Attributes:
        steps_per_epoch: number of training batches of an epoch.
        batches: the first training batches of the study's seed.
        example: inputs and keywords of the task's example.
        outputs: the float model's outputs on the example.
        probe: the float model's score on the probe split.
    """

    steps_per_epoch: int
    batches: TensorsFingerprint | None = None
    example: TensorsFingerprint | None = None
    outputs: TensorsFingerprint | None = None
    probe: float | None = None

    def difference(self, other: TaskFingerprint) -> str | None:
        """What another task does differently, in words; None where nothing is known to differ.

        Args:
            other: of the task that came.
        """
        if self.steps_per_epoch != other.steps_per_epoch:
            return f"{self.steps_per_epoch} training batches an epoch, got {other.steps_per_epoch}"
        parts = {
            "batches": ("other training data", VALUE_TOLERANCE),
            "example": ("another example", VALUE_TOLERANCE),
            "outputs": ("a float model with other outputs on the example", OUTPUT_TOLERANCE),
        }
        for name, (words, tolerance) in parts.items():
            first, second = getattr(self, name), getattr(other, name)
            if first is not None and second is not None and not first.is_near(second, tolerance):
                return f"{words} than the task now has"
        if self.probe is None or other.probe is None:
            return None
        if not math.isclose(self.probe, other.probe, rel_tol=SCORE_TOLERANCE):
            scores = f"{self.probe:.6g} on the probe split, got {other.probe:.6g}"
            return f"other validation data or another score (the float model: {scores})"
        return None

    def stable(self, other: TaskFingerprint) -> TaskFingerprint:
        """The parts that are the same in two fingerprints of one task.

        Args:
            other: of the same task and model.
        """
        both, parts = (self, other), TaskFingerprint(self.steps_per_epoch)
        kept = parts
        for each in fields(self)[1:]:
            own, others = (replace(parts, **{each.name: getattr(task, each.name)}) for task in both)
            if own.difference(others) is None:
                kept = replace(kept, **{each.name: getattr(self, each.name)})
        return kept

    @property
    def untrained(self) -> TaskFingerprint:
        """The parts that do not depend on the weights of the float model."""
        return replace(self, outputs=None, probe=None)


def _are_near(first: Sequence[float], second: Sequence[float], tolerance: float) -> bool:
    """Whether numbers differ by no more than two machines do; a NaN equals another.

    Args:
        first: some numbers.
        second: others.
        tolerance: largest difference, over the largest finite number of the first.
    """
    if len(first) != len(second):
        return False
    scale = max((abs(x) for x in first if math.isfinite(x)), default=0.0)
    return all(
        a == b or (math.isnan(a) and math.isnan(b)) or abs(a - b) <= tolerance * scale
        for a, b in zip(first, second, strict=True)
    )
