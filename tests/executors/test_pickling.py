import pickle
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from autoquant.executors.pickling import pickled, unpicklable_part


@dataclass
class Context:
    """Two fields."""

    task: Any
    steps: int = 3


class Loss:
    def __init__(self, part: Any) -> None:
        self.scale, self.part = 2.0, part


def enclosing(lock: Any) -> Callable[[], Any]:
    return lambda: lock


LOCK = threading.Lock()


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Context({"loss": Loss(LOCK)}), "task.loss.part"),
        (Context(Loss([1, enclosing(LOCK)])), "task.part.1.lock"),
        ((3, Context(Loss((2, LOCK)))), "task.part"),
        (LOCK, ""),
    ],
    ids=["attribute", "closure", "tuple", "itself"],
)
def test_the_part_that_cannot_be_pickled(value: Any, name: str) -> None:
    with pytest.raises(TypeError):
        pickled(value)
    found, part, reason = unpicklable_part(value)
    assert found == name
    assert part is LOCK
    assert not name or reason == "cannot pickle '_thread.lock' object"


@pytest.mark.parametrize(
    "norm", [nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm]
)
def test_a_module_with_parametrizations(norm: Callable[..., nn.Module]) -> None:
    model = nn.Sequential(norm(nn.Linear(3, 4)), nn.ReLU(), norm(nn.Linear(4, 2))).eval()
    copy = pickle.loads(pickled(model))
    values = torch.randn(5, 3)
    assert torch.equal(copy(values), model(values))
    assert copy.state_dict().keys() == model.state_dict().keys()
    copy(values).sum().backward()
    assert all(p.grad is not None for p in copy.parameters() if p.requires_grad)
    assert type(copy[0]).__name__ == type(model[0]).__name__
