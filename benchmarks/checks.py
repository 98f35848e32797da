"""Whether a variant computes what it should: relative errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.case import WrongResult

Results = Mapping[str, Tensor]


def close_to(expected: Callable[[], Results], tolerance: float) -> Callable[[Any], None]:
    """A check of a result against an expected one, for the tensors that both have by name.

    Args:
        expected: computed when it is first needed.
        tolerance: largest |difference| / |expected|, as norms over all values.

    Returns:
        a function of a result that raises WrongResult.
    """

    def check(results: Results) -> None:
        for name, tensor in expected().items():
            if name in results:
                _compare(name, results[name], tensor, tolerance)

    return check


def _compare(name: str, result: Tensor, expected: Tensor, tolerance: float) -> None:
    """Raise WrongResult where a tensor has another shape or differs too much.

    Args:
        name: of the tensor.
        result: the variant's.
        expected: what it should be.
        tolerance: largest relative error.
    """
    if result.shape != expected.shape:
        raise WrongResult(
            f"{name} must have shape {list(expected.shape)}, got {list(result.shape)}"
        )
    error = relative_error(result, expected)
    if not error <= tolerance:
        raise WrongResult(
            f"{name} must be within {tolerance:g} of what it should be, got {error:.2g}"
        )


def parameter_gradients(module: nn.Module) -> Tensor:
    """The gradients of all parameters as one vector."""
    gradients = [p.grad.flatten() for p in module.parameters() if p.grad is not None]
    return torch.cat(gradients)


def relative_error(result: Tensor, expected: Tensor) -> float:
    """|result - expected| / |expected|, as norms over all values."""
    difference = (result.detach().float() - expected.detach().float()).norm()
    return float(difference / expected.detach().float().norm().clamp_min(torch.finfo().tiny))
