"""Two models on the same input: the largest difference, or an error where it is not rounding."""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autoquant.errors import RunError
from autoquant.graph.equivalence import ExampleRun, LossOf, check_same_function
from autoquant.graph.outputs import check_same_outputs, equal_outputs, numbers_in
from tests import toys
from tests.graph.tracing.lines import here
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


@pytest.mark.parametrize(("dtype", "equal"), [(torch.float64, True), (torch.float32, False)])
def test_doubles_are_compared_with_the_largest_one(dtype: torch.dtype, equal: bool) -> None:
    """A small one may be the difference of two large ones."""
    first = torch.tensor([1.0, 1e-6, float("nan"), float("inf")], dtype=dtype)
    second = first + torch.tensor([0.0, 1e-7, 0.0, 0.0], dtype=dtype)
    assert equal_outputs([first], [second], double=1e-6) is equal
    assert not equal_outputs([first], [second + 1e-5], double=1e-6)
    assert not equal_outputs([first], [second])


class Given(nn.Module):
    """Two linear layers and a forward pass given from outside."""

    def __init__(self, forward: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(4, 6), nn.Linear(6, 3)
        self.register_buffer("calls", torch.zeros(1))
        self.generator = torch.Generator().manual_seed(0)
        self._run = forward

    def hidden(self, x: Tensor) -> Tensor:
        return torch.relu(self.up(x))

    def forward(self, x: Tensor) -> Any:
        return self._run(self, x)


def always_dropped(m: Any, x: Tensor) -> Any:
    return m.down(F.dropout(m.hidden(x), 0.5))  # here


def noisy(m: Any, x: Tensor) -> Any:
    h = m.hidden(x)
    return m.down(h + torch.randn_like(h))  # here


def dropped_attention(m: Any, x: Tensor) -> Any:
    h = m.hidden(x)[None]
    return m.down(F.scaled_dot_product_attention(h, h, h, None, 0.5, False))  # here


def with_own_generator(m: Any, x: Tensor) -> Any:
    return m.down(m.hidden(x)) + torch.rand(1, generator=m.generator) ** 2


def with_python_numbers(m: Any, x: Tensor) -> Any:
    return m.down(m.hidden(x)) + random.random() + float(np.random.rand())


def unlike_any_other(m: Any, x: Tensor) -> Any:
    return m.down(m.hidden(x)) + time.perf_counter_ns() % 1000  # differs with any seed


def plain(m: Any, x: Tensor) -> Any:
    return m.down(m.hidden(x))


def counting(m: Any, x: Tensor) -> Any:
    m.calls += 1
    return plain(m, x) + m.calls


def in_place(m: Any, x: Tensor) -> Any:
    return plain(m, x.sub_(0.5))


def nested(m: Any, x: Tensor) -> Any:
    return {"none": None, "logits": plain(m, x), "nan": torch.full((2,), float("nan"))}


RANDOM = [always_dropped, noisy, dropped_attention, with_own_generator]
STEADY = [plain, counting, in_place, nested]


def run_of(forward: Callable[[Any, Tensor], Any], loss: LossOf | None = None) -> ExampleRun:
    torch.manual_seed(0)
    return ExampleRun.of(Given(forward), (torch.randn(5, 4),), loss=loss)


@pytest.mark.parametrize("forward", RANDOM, ids=lambda f: f.__name__)
def test_random_models_are_compared_without_noise(forward: Any) -> None:
    run, model = run_of(forward), Given(forward)
    expected = "" if forward is with_own_generator else here(forward)[1:-1]
    assert (run.random, run.repeatable, run.obstacle) == (True, True, "")
    assert run.line == expected or forward is with_own_generator
    other = copy.deepcopy(model)
    assert run.equal(model, other)
    assert run.check_same(model, other) == 0.0
    other.down.bias.data += 1
    assert not run.equal(model, other)
    with pytest.raises(RunError, match="difference"):
        run.check_same(model, other)


@pytest.mark.parametrize("forward", STEADY, ids=lambda f: f.__name__)
def test_steady_models_are_not_random(forward: Any) -> None:
    x = torch.randn(5, 4)
    before, model = x.clone(), Given(forward)
    run = ExampleRun.of(model, (x,))
    assert not run.random
    assert run.equal(model, copy.deepcopy(model))
    assert torch.equal(x, before)
    assert model.calls == 0
    assert model.training


def test_python_and_numpy_numbers_are_seeded() -> None:
    run = run_of(with_python_numbers)
    assert run.random
    assert run.repeatable
    random.seed(3)
    first = random.random()
    random.seed(3)
    run.eval_outputs(Given(with_python_numbers))
    assert random.random() == first  # the user's own state is as it was


def test_a_model_that_differs_from_itself_is_not_compared() -> None:
    run = run_of(unlike_any_other)
    model, other = Given(unlike_any_other), Given(unlike_any_other)
    assert run.obstacle == "what the model computes differs from run to run"
    assert run.equal(model, other)
    assert run.check_same(model, other) == 0.0


def decides(m: Any, x: Tensor) -> Any:
    logits = plain(m, x)
    return logits if m.training else logits.argmax(-1)


def only_decides(m: Any, x: Tensor) -> Any:
    return plain(m, x).argmax(-1)


def test_whole_numbers_alone_cannot_be_compared() -> None:
    assert run_of(only_decides).obstacle == "the model returns whole numbers only"


@pytest.mark.parametrize(
    ("forward", "loss"),
    [(decides, None), (only_decides, lambda m: plain(m, torch.ones(2, 4)).sum())],
    ids=["its logits in training", "its loss"],
)
def test_training_shows_what_whole_numbers_hide(forward: Any, loss: LossOf | None) -> None:
    run, model = run_of(forward, loss), Given(forward)
    other = copy.deepcopy(model)
    other.down.bias.data += 0.61  # the same decisions
    assert run.equal(model, other)
    assert run.trains
    with pytest.raises(RunError, match="difference"):
        run.check_same(model, other)


def test_a_whole_number_may_be_another_at_a_tie() -> None:
    numbers = torch.arange(400)
    few, many = numbers.clone(), numbers.clone()
    few[:4] += 1
    many[:5] += 1
    check_same_outputs([numbers], [few])
    with pytest.raises(RunError, match="got 5 other whole numbers of 400"):
        check_same_outputs([numbers], [many])


@dataclass
class Output:
    logits: Tensor
    again: Any = None


def test_numbers_of_any_output() -> None:
    output = Output(torch.ones(2))
    output.again = output  # a circle
    sparse = torch.eye(2).to_sparse()
    tree = (None, {"a": [output, 3, True]}, sparse, torch.tensor([1 + 2j]), "text")
    numbers = [tensor.tolist() for tensor in numbers_in(tree)]
    assert numbers == [[1, 1], [[1, 0], [0, 1]], [[1, 2]], 3, True]
