"""The compiled kernels are built and used wherever a compiler is: nothing falls back unnoticed."""

from __future__ import annotations

import os
import shutil

import pytest

from autoquant.backend import Compute, computing
from autoquant.plan import LayerChoice
from autoquant.quantization import native
from autoquant.settings import Scheme
from autoquant.training.qat import build_candidate
from tests.quantization.native.machine import NEEDS_KERNELS
from tests.toys import RegressionTask, example_of, plan_of, prepared, stack

HAS_COMPILER = shutil.which("cc") is not None
IN_CI = os.environ.get("CI") == "true"


@pytest.mark.skipif(not (HAS_COMPILER or IN_CI), reason="needs a C compiler")
def test_the_kernels_are_built_where_a_compiler_is() -> None:
    assert native.available(), "install the package again: pip install -e ."


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the compiled functions that are called."""
    names: list[str] = []
    function = native.function

    def watched(name: str, *result: object):
        names.append(name)
        return function(name, *result)

    monkeypatch.setattr(native, "function", watched)
    return names


def train_step(cell: str, kernel: str, called: list[str]) -> dict[str, bool]:
    """Whether the recurrence of a 4-bit layer ran compiled, forward and backward."""
    model, network = prepared(stack(cell=cell))
    (inputs,) = example_of(model)
    task = RegressionTask(model, inputs)
    plan = plan_of(network, LayerChoice(4, 4))
    candidate = build_candidate(model, network, plan, Scheme(), task, method="split", seed=0)
    called.clear()  # of the calibration
    with computing(Compute(kernel=kernel)):
        loss, _ = task.loss(candidate.train(), inputs, None)
        loss.backward()
    return {name: name in called for name in ("forward", "backward")}


@NEEDS_KERNELS
@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_a_recurrent_layer_of_4_bits_trains_on_the_compiled_kernels(
    cell: str, called: list[str]
) -> None:
    assert train_step(cell, "auto", called) == {"forward": True, "backward": True}


@NEEDS_KERNELS
def test_other_kernels_by_name_do_not_call_them(called: list[str]) -> None:
    assert train_step("LSTM", "reference", called) == {"forward": False, "backward": False}
