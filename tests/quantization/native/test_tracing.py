"""Which of torch's ways to look at operations are noticed, and that C is kept away from them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._C._dynamo.eval_frame import set_eval_frame
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode

from autoquant.quantization.native import is_traced, untraced
from autoquant.quantization.native.tracing import is_differentiated
from tests.quantization.native.machine import process

Function = Callable[[Tensor], Tensor]
ONE = torch.ones(3)


class Watching(TorchDispatchMode):
    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = ()):
        return function(*arguments, **dict(options))


def within(mode: Any, function: Function) -> Any:
    with mode:
        return function(ONE)


RECORDED: dict[str, Callable[[Function], Any]] = {
    "torch.jit.trace": lambda f: torch.jit.trace(f, (ONE,), check_trace=False),
    "make_fx": lambda f: make_fx(f)(ONE),
    "make_fx, fake": lambda f: make_fx(f, tracing_mode="fake")(ONE),
    "make_fx, before dispatch": lambda f: make_fx(f, pre_dispatch=True)(ONE),
    "a dispatch mode": lambda f: within(Watching(), f),
    "a fake tensor": lambda f: f(FakeTensorMode().from_tensor(ONE)),
    "vmap": lambda f: torch.vmap(f)(torch.ones(2, 3)),
    "torch.func.grad": lambda f: torch.func.grad(lambda x: f(x).sum())(ONE),
    "functionalize": lambda f: torch.func.functionalize(f)(ONE),
    "torch.compile": lambda f: torch.compile(f, backend="eager")(ONE),
}
PLAIN: dict[str, Callable[[Function], Any]] = {
    "nothing": lambda f: f(ONE),
    "no gradients": lambda f: within(torch.no_grad(), f),
    "inference": lambda f: within(torch.inference_mode(), f),
    "autocast": lambda f: within(torch.autocast("cpu"), f),
    "another default device": lambda f: within(torch.device("meta"), f),
    "a parameter": lambda f: f(torch.nn.Parameter(ONE)),
}


def seen(way: Callable[[Function], Any]) -> set[bool]:
    answers = set()

    def asks(values: Tensor) -> Tensor:
        answers.add(is_traced(values))
        return values + 1

    way(asks)
    return answers


@pytest.mark.parametrize("way", RECORDED.values(), ids=RECORDED)
def test_what_records_is_noticed(way: Callable[[Function], Any]) -> None:
    torch._dynamo.reset()
    assert seen(way) == {True}


@pytest.mark.parametrize("way", PLAIN.values(), ids=PLAIN)
def test_what_only_computes_is_not(way: Callable[[Function], Any]) -> None:
    assert seen(way) == {False}


def test_a_differentiated_operand_is_noticed() -> None:
    leaf = torch.ones(3, requires_grad=True)
    assert is_differentiated(ONE, leaf)
    assert not is_differentiated(ONE)
    with torch.no_grad():
        assert not is_differentiated(leaf)
    with torch.autograd.forward_ad.dual_level():
        assert is_differentiated(ONE)


def test_an_untraced_function_runs_as_it_is() -> None:
    """The compiler sees neither it nor what it calls, and computes on with its result."""
    torch._dynamo.reset()
    states = []

    def inner(values: Tensor) -> Tensor:
        states.append(torch.compiler.is_compiling())
        return values * 2

    @untraced
    def middle(values: Tensor, *, added: float) -> Tensor:
        states.append(torch.compiler.is_compiling())
        return inner(values) + added

    compiled = torch.compile(lambda values: middle(values + 1, added=0.5) * 3, backend="eager")
    for _ in range(2):
        assert torch.equal(compiled(ONE), torch.full((3,), 13.5))
    assert states == [False] * 4
    assert torch.equal(middle(ONE, added=1.0), torch.full((3,), 3.0))


def test_torchs_compiler_is_switched_off_for_an_untraced_function_alone() -> None:
    """False: code that is compiled already is run, and no other is compiled."""
    torch._dynamo.reset()
    states: list[object] = []
    set_eval_frame(False)
    try:
        untraced(lambda: states.append(set_eval_frame(None)))()
    finally:
        states.append(set_eval_frame(None))
    assert states == [None, False]


def test_no_call_loses_a_reference_to_none() -> None:
    """With torch 2.6 and Python 3.11 each lost one; without any, the process aborts."""
    call = untraced(lambda: 1)
    before = sys.getrefcount(None)
    for _ in range(2000):
        call()
    assert abs(sys.getrefcount(None) - before) < 200


def test_torchs_compiler_is_not_imported() -> None:
    """It takes seconds."""
    code = (
        "import sys, torch, autoquant; from autoquant.kernels import linear;"
        "linear(torch.ones(2, 3), torch.ones(4, 3), None); print('torch._dynamo' in sys.modules)"
    )
    assert process(code).stdout.strip() == "False"
