"""Two models on the same input: the largest difference, or an error where it is not rounding."""

from __future__ import annotations

import copy

import pytest
import torch

from autoquant.errors import RunError
from autoquant.graph.equivalence import check_same_function
from tests import toys
from tests.toys import prepared


def test_check_notices_another_function() -> None:
    model, _ = prepared(toys.stack())
    inputs = (torch.randn(4, 2, 5),)
    assert check_same_function(model, copy.deepcopy(model), inputs) == 0.0
    other = copy.deepcopy(model)
    other.back.bias.data[0] += 0.5
    with pytest.raises(RunError, match=r"must compute the same, got a difference of 0\.5"):
        check_same_function(model, other, inputs)
    other.back.bias.data[0] = float("nan")
    with pytest.raises(RunError, match="NaN or infinity elsewhere"):
        check_same_function(model, other, inputs)


def test_check_keeps_the_mode() -> None:
    model, _ = prepared(toys.stack())
    check_same_function(model, model.train(), (torch.randn(4, 2, 5),))
    assert model.training
