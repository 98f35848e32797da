"""Copies of models: tensors that a model computed and keeps are copied too."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune, weight_norm

from autoquant.copies import copy_model
from autoquant.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")


class Stateful(nn.Module):
    """Keeps the state of its last pass, with its gradient, in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.states: list[Tensor] = []

    def forward(self, inputs: Tensor) -> Tensor:
        self.states = [self.linear(inputs)]
        return self.states[0]


def pruned() -> nn.Module:
    return prune.l1_unstructured(nn.Linear(3, 3), "weight", 0.5)


MODELS: dict[str, Callable[[], nn.Module]] = {
    "weight norm": lambda: weight_norm(nn.Linear(3, 3)),
    "pruned": pruned,
    "a state": Stateful,
}


@pytest.mark.parametrize("name", MODELS)
def test_computed_tensors_are_copied(name: str) -> None:
    model, inputs = MODELS[name](), torch.randn(2, 3)
    outputs = model(inputs)
    copied = copy_model(model)
    with torch.no_grad():
        next(model.parameters()).zero_()  # the copy shares nothing
    assert torch.equal(copied(inputs), outputs)


def test_kept_objects_are_shared() -> None:
    model = nn.Sequential(weight_norm(nn.Linear(3, 3)))
    copied = copy_model(model, {id(parameter): parameter for parameter in model.parameters()})
    assert all(a is b for a, b in zip(model.parameters(), copied.parameters(), strict=True))


def test_what_cannot_be_copied_is_named() -> None:
    model = nn.Linear(3, 3)
    model.lock = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(UserError, match=r"copy\.deepcopy can copy, got Linear: cannot pickle"):
        copy_model(model)
