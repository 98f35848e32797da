"""Groups are grown a little; those that fail or compute something else are frozen, with reasons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autoquant.graph import growth_check
from autoquant.graph.describe import describe
from autoquant.graph.equivalence import ExampleRun
from autoquant.graph.growth_check import with_verified_growth
from autoquant.graph.network import Network, Segment
from autoquant.graph.prepare import prepare
from tests.graph.tracing.lines import here

OUT = "feeds the model's output"


class Given(nn.Module):
    """Linear layers in pairs, with a forward pass given from outside."""

    def __init__(self, forward: Callable[[Any, Tensor], Any], pairs: int = 1) -> None:
        super().__init__()
        self.up = nn.ModuleList(nn.Linear(4, 6) for _ in range(pairs))
        self.down = nn.ModuleList(nn.Linear(6, 4) for _ in range(pairs))
        self.last = nn.Linear(4, 2)
        self._run = forward

    def forward(self, x: Tensor) -> Any:
        return self._run(self, x)


def described(forward: Callable[[Any, Tensor], Any], pairs: int = 1) -> Network:
    torch.manual_seed(0)
    return describe(prepare(Given(forward, pairs)).eval(), (torch.randn(3, 4),))


def plain(m: Any, x: Tensor) -> Tensor:
    for up, down in zip(m.up, m.down, strict=True):
        x = x + down(torch.relu(up(x)))  # here
    return m.last(x)


def test_groups_that_grow_are_not_frozen() -> None:
    assert dict(described(plain, pairs=3).frozen) == {
        "down.0": f"is combined by 'add' {here(plain)} with a value whose units cannot grow",
        "last": OUT,
    }


def checks_its_shape(m: Any, x: Tensor) -> Tensor:
    y = m.up[0](x)
    if y.shape[-1] != 6:
        raise ValueError("six units are wanted\nand no more")  # here
    return m.last(m.down[0](y))


def test_a_reason_has_the_line_and_the_first_line_of_the_error() -> None:
    reason = described(checks_its_shape).why_fixed("up.0")
    assert reason == f"growing it fails {here(checks_its_shape)}: six units are wanted"


def silent_error(m: Any, x: Tensor) -> Tensor:
    y = m.up[0](x)
    if y.shape[-1] != 6:
        raise KeyError  # here
    return m.last(m.down[0](y))


def test_a_reason_has_the_type_of_an_error_without_text() -> None:
    reason = described(silent_error).why_fixed("up.0")
    assert reason == f"growing it fails {here(silent_error)}: KeyError"


def divides_by_the_width(m: Any, x: Tensor) -> Tensor:
    y = m.up[0](x)
    return m.last(m.down[0](y / y.shape[-1]))


def test_another_function_is_found() -> None:
    reason = described(divides_by_the_width).why_fixed("up.0")
    assert reason == "growing it changes what the model computes"


def only_one_pair_fails(m: Any, x: Tensor) -> Tensor:
    for i, (up, down) in enumerate(zip(m.up, m.down, strict=True)):
        y = torch.relu(up(x))
        x = x + down(y / y.shape[-1] if i == 5 else y)
    return m.last(x)


def test_the_one_that_fails_is_found_by_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []
    failure = growth_check._GrowthCheck.failure

    def counting(check: Any, groups: Any) -> str | None:
        tried.append(len(groups))
        return failure(check, groups)

    monkeypatch.setattr(growth_check._GrowthCheck, "failure", counting)
    network = described(only_one_pair_fails, pairs=16)
    free = [f"up.{i}" for i in range(16) if network.why_fixed(f"up.{i}") is None]
    assert free == [f"up.{i}" for i in range(16) if i != 5]
    assert network.why_fixed("up.5") == "growing it changes what the model computes"
    assert max(tried) == 16
    assert len(tried) <= 14  # two for each halving, and all the others together


def two_must_agree(m: Any, x: Tensor) -> Tensor:
    first, second = m.up[0](x), m.up[1](x)
    if 6 not in (first.shape[-1], second.shape[-1]):
        raise ValueError("one of them must have six")
    return m.last(m.down[0](first) + m.down[1](second))


def test_of_two_that_fail_only_together_one_can_grow() -> None:
    network = described(two_must_agree, pairs=2)
    fixed = [network.why_fixed(f"up.{i}") is not None for i in (0, 1)]
    assert sorted(fixed) == [False, True]


def turned_by_one(m: Any, x: Tensor) -> Tensor:
    y = m.up[0](x)
    return m.last(m.down[0](torch.cat([y[..., 1:], y[..., :1]], -1)))


def test_small_parts_grow_too() -> None:
    """A slice of one unit has to grow in the check, else a constant in the code is not noticed."""
    assert described(turned_by_one).why_fixed("up.0") is not None


@pytest.mark.parametrize("start", [0.0, 1e-6, 1.0], ids=str)
def test_constants_do_not_hide_a_branch(start: float) -> None:
    """With a fresh model's gain of zero any layout gives the right output: it is replaced."""
    torch.manual_seed(0)
    model = Given(divides_by_the_width)
    model.gain = nn.Parameter(torch.full((2,), start))
    model._run = lambda m, x: m.last(x) + m.gain * divides_by_the_width(m, x)
    model = prepare(model).eval()
    network = describe(model, (torch.randn(3, 4),))
    assert network.why_fixed("up.0") == "growing it changes what the model computes"
    assert bool((model.gain == start).all())


def test_a_wrong_layout_is_found() -> None:
    """As the network would be if the function of an operation were wrong."""
    torch.manual_seed(0)
    model = prepare(Given(plain)).eval()
    inputs = (torch.randn(3, 4),)
    network = describe(model, inputs)
    wrong = (Segment("up.0", 3, 2),)
    broken = replace(
        network,
        inputs=MappingProxyType({**network.inputs, "down.0": wrong}),
        outputs=MappingProxyType({**network.outputs, "up.0": (Segment("up.0", 6),)}),
    )
    assert with_verified_growth(model, network, ExampleRun(inputs)).why_fixed("up.0") is None
    assert with_verified_growth(model, broken, ExampleRun(inputs)).why_fixed("up.0") is not None


def test_the_model_is_left_as_it_was() -> None:
    torch.manual_seed(0)
    model = prepare(nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 2)))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.train()
    describe(model, (torch.randn(3, 4),))
    assert model.training
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())


def hides_its_scale(m: Any, x: Tensor) -> Any:
    logits = m.last(m.down[0](torch.relu(m.up[0](x)))) * m.up[0].out_features
    return logits if m.training else logits.argmax(-1)


def decides(m: Any, x: Tensor) -> Any:
    logits = m.last(m.down[0](torch.relu(m.up[0](x))))
    return logits if m.training else logits.argmax(-1)


def only_decides(m: Any, x: Tensor) -> Any:
    return m.last(m.down[0](torch.relu(m.up[0](x)))).argmax(-1)


def has_another_head_in_training(m: Any, x: Tensor) -> Any:
    h = torch.relu(m.up[0](x))
    y = m.last(m.down[0](h))
    return (y, m.down[1](h)) if m.training else y  # here


def drops_always(m: Any, x: Tensor) -> Any:
    return m.last(m.down[0](F.dropout(torch.relu(m.up[0](x)), 0.5)))


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        (decides, None),
        (drops_always, None),
        (hides_its_scale, "growing it changes what the model computes"),
        (only_decides, "growth cannot be checked: the model returns whole numbers only"),
        (has_another_head_in_training, "growing it fails"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_training_sees_is_checked(forward: Any, reason: str | None) -> None:
    frozen = described(forward, pairs=2).frozen.get("up.0")
    assert (frozen is None) if reason is None else str(frozen).startswith(reason)
    if forward is has_another_head_in_training:
        assert here(forward)[1:-1] in str(frozen)
