"""Measuring the loss increase of each layer with few bits, without training."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from autoquant.analysis.sensitivity import Sensitivity
from autoquant.copies import copy_model
from autoquant.files import write_text
from autoquant.plan import LayerChoice
from autoquant.progress_bar import tqdm
from autoquant.settings import Training
from autoquant.space.search_space import Dimension, SearchSpace
from autoquant.training.candidate import StartingPoint
from autoquant.training.device import seed_everything
from autoquant.training.eval_losses import eval_losses
from autoquant.training.objective import Objective, build_objective
from autoquant.training.qat import quantize

MAX_MEASURED_BITS = 4
"""Most bits that are measured; for more, the loss increase is extrapolated."""
FALL_PER_BIT = 0.25
"""Ratio of the loss increases of n + 1 and n bits, above MAX_MEASURED_BITS: one more bit halves the
rounding error, and the loss increase is about its square."""


def load_or_measure_sensitivity(
    starting_point: StartingPoint,
    space: SearchSpace,
    training: Training,
    path: Path,
    *,
    progress: bool = True,
) -> Sensitivity:
    """The sensitivity that a file holds, or a new one, written into it.

    Args:
        starting_point: the trained float model, and the settings.
        space: whose dimensions are measured.
        training: whose loss is measured.
        path: of the file.
        progress: whether to show a progress bar.
    """
    if path.is_file():
        return Sensitivity.read(path)
    sensitivity = measure_sensitivity(starting_point, space, training, progress=progress)
    write_text(path, sensitivity.to_json())
    return sensitivity


def measure_sensitivity(
    starting_point: StartingPoint,
    space: SearchSpace,
    training: Training,
    *,
    progress: bool = True,
) -> Sensitivity:
    """Quantize the weights of one dimension at a time and compare the training loss.

    It takes a forward pass over ``settings.sensitivity`` batches for each layer and each number of
    bits up to MAX_MEASURED_BITS.

    Args:
        starting_point: the trained float model, which stays as it is, and the settings: number of
            batches, seed and quantizer.
        space: its dimensions of weight bits are measured.
        training: whose loss is measured, distillation included.
        progress: whether to show a progress bar.
    """
    task, model, settings = starting_point.task, starting_point.model, starting_point.settings
    batches = list(islice(task.batches(settings.seed), settings.sensitivity))
    objective = build_objective(task, training, model)
    float_loss = _mean_loss(model, objective, batches, settings.seed)
    dimensions = [dimension for dimension in space.dimensions if dimension.is_weight_bits]
    total = sum(len(_measured_bits(dimension)) for dimension in dimensions)
    loss_increases = {}
    with tqdm(total=total, desc="sensitivity", unit="loss", disable=not progress) as bar:
        for dimension in dimensions:
            measured = []
            for bits in _measured_bits(dimension):
                quantized = _quantized(starting_point, space, dimension, bits)
                loss = _mean_loss(quantized, objective, batches, settings.seed)
                measured.append(loss - float_loss)
                bar.update()
            loss_increases[dimension.name] = _completed(measured, dimension.choices)
    return Sensitivity(loss_increases)


def _measured_bits(dimension: Dimension) -> list[float]:
    """The choices up to MAX_MEASURED_BITS bits, the fewest bits in any case."""
    most = max(MAX_MEASURED_BITS, dimension.choices[0])
    return [bits for bits in dimension.choices if bits <= most]


def _completed(measured: Sequence[float], choices: Sequence[float]) -> dict[float, float]:
    """Loss increases of all choices, from those of the first few.

    Negative values (noise) become 0, NaN becomes infinity; no increase is below that of more bits.

    Args:
        measured: loss increases of the first choices.
        choices: bits, in rising order.
    """
    increases = [value if value >= 0 else 0.0 if value < 0 else float("inf") for value in measured]
    last = choices[len(increases) - 1]
    rest = choices[len(increases) :]
    increases += [increases[-1] * FALL_PER_BIT ** (bits - last) for bits in rest]
    for i in reversed(range(len(increases) - 1)):
        increases[i] = max(increases[i], increases[i + 1])
    return dict(zip(choices, increases, strict=True))


def _quantized(
    starting_point: StartingPoint, space: SearchSpace, dimension: Dimension, bits: Any
) -> nn.Module:
    """A copy of the float model in which one dimension's weights are fake-quantized.

    Args:
        starting_point: the float model and the quantizer.
        space: that the dimension belongs to.
        dimension: weight bits or recurrent bits of one layer.
        bits: of these weights; all others stay in float.
    """
    choices = dict.fromkeys(space.layers, LayerChoice(recurrent_bits=32))
    split = any(
        other.layer == dimension.layer and other.field == "recurrent_bits"
        for other in space.dimensions
    )
    fields = {"recurrent_bits": 32 if split else None} | {dimension.field: bits}
    choices[dimension.layer] = LayerChoice(**fields)
    model = copy_model(starting_point.model)
    plan, scheme = space.tied(choices), starting_point.settings.quantizer
    quantize(model, starting_point.network, plan, scheme)
    return model


@torch.no_grad()
def _mean_loss(model: nn.Module, objective: Objective, batches: list[Any], seed: int) -> float:
    """The mean loss over batches, in eval mode (see ``eval_losses``).

    Args:
        model: a float or a fake-quantized model.
        objective: gives the loss.
        batches: in their order; the carry goes from one to the next.
        seed: of what the objective draws; the same in every call.
    """
    seed_everything(seed)
    with parametrize.cached():
        return sum(float(loss) for loss in eval_losses(model, objective, batches)) / len(batches)
