"""Packed models as C programs, beside the models that ``aq.load`` returns."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from autoquant.exports.c import CProgram, write_c
from autoquant.exports.c.compiled import CModule, compiled
from autoquant.exports.recording import Recording, Source, axes_named, narrowed, record
from autoquant.exports.source import open_source
from autoquant.exports.steps import step_source
from autoquant.plan import LayerChoice
from autoquant.settings import Scheme
from autoquant.task import Example
from autoquant.training.qat import build_candidate
from tests.runtime.pairs import Once, saved, seeded
from tests.toys import plan_of, prepared_once

TOLERANCE = 2e-6
"""Largest difference between C and aq.load, relative to the largest output."""


@dataclass(frozen=True)
class Exported:
    """A C program, what it was written from, and how it runs.

    Attributes:
        source: the loaded model.
        recording: of it, of fixed sizes.
        program: the C files.
        module: the compiled program.
    """

    source: Source
    recording: Recording
    program: CProgram
    module: CModule


def mostly_slow(every: Iterable[Any], *few: Any) -> list[Any]:
    """Parameters of a test, of which all but a few are marked slow."""
    marks = pytest.mark.slow
    rest = [one for one in every if one not in few]
    slow = [pytest.param(*(one if isinstance(one, tuple) else (one,)), marks=marks) for one in rest]
    return [*few, *slow]


def choice_of(bits: float = 4, act: int = 8, hidden: int = 8) -> LayerChoice:
    return LayerChoice(bits, act, 1.0, bits, hidden)


def source_of(
    folder: Path,
    build: Callable[[], nn.Module],
    inputs: Any,
    choice: LayerChoice | None = None,
    scheme: Scheme | None = None,
) -> Source:
    """A packed model that was loaded for an export."""
    build, scheme = seeded(build, 0), scheme or Scheme()
    model, network = prepared_once(build(), inputs)
    plan = plan_of(network, choice or choice_of())
    task = Once(build(), inputs)
    fake = build_candidate(model, network, plan, scheme, task, method="split", seed=0)
    both = saved(folder, fake.eval(), network, plan, scheme, build)
    return open_source(both.path, both.build(), Example((inputs,), 1))


def exported(source: Source, folder: Path, *, steps: bool = False, name: str = "model") -> Exported:
    """A source as a C program with a batch of 1, of one time step or of the whole example."""
    whole = record(source)
    narrow = step_source(whole) if steps else source
    recording = record(narrowed(narrow, axes_named(whole, "batch")), dynamic=False)
    program = write_c(recording, folder, name)
    return Exported(source, recording, program, compiled(program, folder / "build"))


def floats_of(function: Callable[..., Any], *inputs: Tensor) -> Recording:
    """A recorded model without quantized layers, which returns what a function does."""

    class Model(nn.Module):
        def forward(self, *given: Tensor) -> Any:
            return function(*given)

    return record(Source(Model().eval(), {}, {}, Example(inputs, 1)), dynamic=False)


def model_outputs(source: Source, inputs: Tensor) -> list[NDArray[Any]]:
    """What the loaded model returns, states left out."""
    with torch.no_grad():
        outputs = source.model(inputs)
    first = outputs[0] if isinstance(outputs, tuple) else outputs
    return [first.numpy()]


def difference(ours: Any, theirs: Any) -> float:
    """The largest difference, relative to the largest value."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-9))


def whole_difference(made: Exported, inputs: Tensor, axis: int = 0) -> float:
    """The largest difference of a program that reads a whole input, over a batch."""
    worst = 0.0
    for index in range(inputs.shape[axis]):
        one = inputs.narrow(axis, index, 1)
        outputs, _ = made.module.run([one.numpy()])
        worst = max(worst, difference(outputs[0], model_outputs(made.source, one)[0]))
    return worst


def step_difference(made: Exported, inputs: Tensor, batch: int = 1, time: int = 0) -> float:
    """The largest difference of a streamed program's outputs [.., T, ..], over a batch."""
    worst = 0.0
    for index in range(inputs.shape[batch]):
        one = inputs.narrow(batch, index, 1)
        steps = np.stack([step.numpy() for step in one.split(1, time)])
        outputs, _ = made.module.sequence([steps])
        joined = np.concatenate(list(outputs[0]), time)
        worst = max(worst, difference(joined, model_outputs(made.source, one)[0]))
    return worst
