"""Models that cannot be stored or quantized are refused before anything is trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from autoquant.analysis.model_checks import check_model
from autoquant.analysis.model_info import profile
from autoquant.errors import UserError
from autoquant.tasks.supervised import SupervisedTask


class Extra(nn.Sequential):
    """Has an extra state."""

    def __init__(self, layer: nn.Module, state: Any) -> None:
        super().__init__(layer)
        self.state = state

    def get_extra_state(self) -> Any:
        return self.state

    def set_extra_state(self, state: Any) -> None:
        self.state = state


def net(first: nn.Module | None = None) -> nn.Sequential:
    return nn.Sequential(first or nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))


def with_buffer(dtype: torch.dtype) -> nn.Module:
    model = net()
    model.register_buffer("extra", torch.zeros(2).to(dtype))
    return model


def spoiled(module: nn.Module, name: str, value: float = float("nan")) -> nn.Module:
    dict(module.named_parameters())[name].data.flatten()[3] = value
    return module


NORMED = "parametrizations.weight.original1"
REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "extra state": (
        lambda: nn.Sequential(Extra(nn.Linear(6, 3), {"version": 1})),
        "extra state of a model must be a tensor, got a dict in 0._extra_state",
    ),
    "complex128": (
        lambda: with_buffer(torch.complex128),
        "tensors of a model must be of the types bool, .*, got complex128 in extra",
    ),
    "uint16": (lambda: with_buffer(torch.uint16), "got uint16 in extra"),
    "NaN": (
        lambda: spoiled(net(), "2.weight"),
        r"weights must be finite, got NaN or infinity in 1 of 15 values of 2\.weight",
    ),
    "infinity": (lambda: spoiled(net(), "0.bias", float("inf")), r"of 5 values of 0\.bias"),
    "in an LSTM": (
        lambda: spoiled(nn.LSTM(6, 3), "weight_hh_l0"),
        "of 36 values of weight_hh_l0",
    ),
    "in a weight norm": (
        lambda: spoiled(parametrizations.weight_norm(nn.Linear(6, 5)), NORMED),
        r"of 30 values of parametrizations\.weight\.original1",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(name: str) -> None:
    build, line = REFUSED[name]
    data = torch.zeros(4, 6), torch.zeros(4, dtype=torch.long)
    with pytest.raises(UserError, match=line) as raised:
        profile(SupervisedTask(build(), data, data, data))
    assert "\n" not in str(raised.value)


class Masked(nn.Module):
    """Keeps infinity where it belongs: in tensors that are not quantized."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.transitions = nn.Parameter(torch.tensor([0.0, -torch.inf]))
        self.register_buffer("mask", torch.full((3, 3), -torch.inf))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.linear(inputs)


def test_what_is_not_quantized_may_be_infinite() -> None:
    check_model(Masked())


def test_a_tensor_as_extra_state_is_allowed() -> None:
    check_model(Extra(nn.Linear(6, 3), torch.ones(2)))
