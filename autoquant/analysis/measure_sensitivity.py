"""Measuring what few bits cost in each layer, without training, on a few training batches."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize
from tqdm import tqdm

from autoquant.analysis.sensitivity import Sensitivity
from autoquant.files import write_text
from autoquant.plan import LayerChoice
from autoquant.settings import Training
from autoquant.space.search_space import Dimension, SearchSpace
from autoquant.training.candidate import Base
from autoquant.training.loop import Objective, objective, seed_everything
from autoquant.training.qat import quantize

MAX_MEASURED_BITS = (
    4  # more bits are not measured, for there the rise falls to a quarter with every bit
)


def recorded_sensitivity(
    base: Base, space: SearchSpace, training: Training, path: Path, *, progress: bool = True
) -> Sensitivity:
    """The sensitivity that a file holds, or a new one, written into it."""
    if path.is_file():
        return Sensitivity.read(path)
    sensitivity = measure_sensitivity(base, space, training, progress=progress)
    write_text(path, sensitivity.to_json())
    return sensitivity


def measure_sensitivity(
    base: Base, space: SearchSpace, training: Training, *, progress: bool = True
) -> Sensitivity:
    """Quantize the weights of one dimension after the other and look at the loss of a training.

    It takes a forward pass over ``settings.sensitivity`` batches for each layer and each number of
    bits up to MAX_MEASURED_BITS.
    """
    batches = list(islice(base.task.batches(base.settings.seed), base.settings.sensitivity))
    loss_of = objective(base.task, training, base.model)
    level = _mean_loss(base.model, loss_of, batches, base.settings.seed)
    dimensions = [each for each in space.dimensions if each.weighs]
    total = sum(len(_measured(each)) for each in dimensions)
    rises = {}
    with tqdm(total=total, desc="sensitivity", unit="loss", disable=not progress) as bar:
        for dimension in dimensions:
            found = []
            for bits in _measured(dimension):
                model = _quantized(base, space, dimension, bits)
                found.append(_mean_loss(model, loss_of, batches, base.settings.seed) - level)
                bar.update()
            rises[dimension.name] = _completed(found, dimension.choices)
    return Sensitivity(rises)


def _measured(dimension: Dimension) -> list[float]:
    """The choices up to MAX_MEASURED_BITS bits, the fewest bits in any case."""
    return [
        bits for bits in dimension.choices if bits <= max(MAX_MEASURED_BITS, dimension.choices[0])
    ]


def _completed(found: Sequence[float], choices: Sequence[float]) -> dict[float, float]:
    """Rises of all choices from those of the first; what noise (or a NaN) breaks is set right."""
    rises = [rise if rise >= 0 else 0.0 if rise < 0 else float("inf") for rise in found]
    last = choices[len(rises) - 1]
    rises += [rises[-1] * 0.25 ** (bits - last) for bits in choices[len(rises) :]]
    for i in reversed(range(len(rises) - 1)):
        rises[i] = max(rises[i], rises[i + 1])
    return dict(zip(choices, rises, strict=True))


def _quantized(base: Base, space: SearchSpace, dimension: Dimension, bits: Any) -> nn.Module:
    """A copy of the float model in which one dimension's weights are fake-quantized."""
    choices = dict.fromkeys(space.layers, LayerChoice(recurrent_bits=32))
    own = {dimension.field: bits}
    split = any(
        each.layer == dimension.layer and each.field == "recurrent_bits"
        for each in space.dimensions
    )
    choices[dimension.layer] = LayerChoice(**({"recurrent_bits": 32 if split else None} | own))
    model = copy.deepcopy(base.model)
    quantize(model, base.network, space.tied(choices), base.settings.quantizer)
    return model


@torch.no_grad()
def _mean_loss(model: nn.Module, loss_of: Objective, batches: list[Any], seed: int) -> float:
    """The loss over batches, the same random draws whenever it is called."""
    seed_everything(seed)
    training = model.training
    model.eval()
    total, carry = 0.0, None
    with parametrize.cached():
        for batch in batches:
            loss, carry = loss_of(model, batch, carry)
            total += float(loss)
    model.train(training)
    return total / len(batches)
