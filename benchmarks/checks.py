"""Whether a variant computes what it should: relative errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from benchmarks.case import Wrong

Results = Mapping[str, Tensor]


def close_to(expected: Callable[[], Results], tolerance: float) -> Callable[[Any], None]:
    """A check of what a result has in common with what is expected, by name.

    Args:
        expected: computed when it is first needed.
        tolerance: largest |difference| / |expected|, as norms over all values.
    """

    def check(results: Results) -> None:
        for name, right in expected().items():
            if name in results:
                _compare(name, results[name], right, tolerance)

    return check


def _compare(name: str, result: Tensor, expected: Tensor, tolerance: float) -> None:
    if result.shape != expected.shape:
        raise Wrong(f"{name} must have shape {list(expected.shape)}, got {list(result.shape)}")
    error = relative_error(result, expected)
    if not error <= tolerance:
        raise Wrong(f"{name} must be within {tolerance:g} of what it should be, got {error:.2g}")


def relative_error(result: Tensor, expected: Tensor) -> float:
    """|result - expected| / |expected|."""
    difference = (result.detach().float() - expected.detach().float()).norm()
    return float(difference / expected.detach().float().norm().clamp_min(torch.finfo().tiny))
