"""What a strategy may know of a network before training: loss increases by dimension and choice."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from autoquant.copies import copy_model
from autoquant.files import write_text
from autoquant.plan import LayerChoice, Plan
from autoquant.quantization.fake_quantize import WeightQuantizer
from autoquant.seeds import seed_everything
from autoquant.space.search_space import Dimension, Point, SearchSpace
from autoquant.training.candidate import StartingPoint
from autoquant.training.eval_losses import eval_losses
from autoquant.training.objective import build_objective
from autoquant.training.qat import calibrate, quantize
from benchmarks.tabular.table import TableFolder

BATCHES = 8
Scores = dict[str, list[float]]
"""By dimension a number for each choice."""


def measure_predictors(start: StartingPoint, space: SearchSpace, base: Point) -> dict[str, Scores]:
    """Loss increases, measured in three ways.

    Args:
        start: the float model.
        space: whose dimensions of bits are measured.
        base: the point near which "near" measures.

    Returns:
        "alone": with one dimension quantized at a time, all others in float; "near": with one
        dimension changed at a time, all others as in the base (differences to the largest choice);
        "gradient": the sum over weights of (gradient of the loss * rounding error)^2, without
        activations (as the gradient score of NVIDIA's Model-Optimizer, there over outputs).
    """
    loss = _Measured(start)
    near = _by_choice(space, lambda d, choice: loss(_near_plan(space, base, d, choice)))
    return {
        "alone": _by_choice(space, lambda d, choice: loss(_alone_plan(space, d, choice))),
        "near": near,
        "gradient": _gradient_scores(start, space),
    }


def write_predictors(folder: TableFolder, predictors: dict[str, Scores]) -> None:
    """Write them into the folder of a table.

    Args:
        folder: of the table.
        predictors: what ``measure_predictors`` gave.
    """
    write_text(folder.predictors_file, json.dumps(predictors, indent=2) + "\n")


def _by_choice(space: SearchSpace, measured: Callable[[Dimension, Any], float]) -> Scores:
    """For each dimension of bits the loss of each choice minus that of the largest choice."""
    scores = {}
    for dimension in space.dimensions:
        if dimension.field != "width":
            losses = [measured(dimension, choice) for choice in dimension.choices]
            scores[dimension.name] = [value - losses[-1] for value in losses]
    return scores


class _Measured:
    """The mean training loss of a plan without training, in eval mode.

    Args:
        start: the float model.
    """

    def __init__(self, start: StartingPoint) -> None:
        self._start = start
        self._batches = list(islice(start.task.batches(start.settings.seed), BATCHES))
        self._objective = build_objective(start.task, start.settings.qat, start.model)

    @torch.no_grad()
    def __call__(self, plan: Plan) -> float:
        start = self._start
        model = copy_model(start.model)
        quantize(model, start.network, plan, start.settings.quantizer)
        calibrate(model, start.task, start.settings.seed)
        seed_everything(start.settings.seed)
        with parametrize.cached(), closing(self._losses(model)) as losses:
            return sum(float(loss) for loss in losses) / BATCHES

    def _losses(self, model: nn.Module) -> Any:
        return eval_losses(model, self._objective, self._batches)


def _alone_plan(space: SearchSpace, dimension: Dimension, choice: Any) -> Plan:
    """Everything in float but one dimension.

    Args:
        space: of the dimension.
        dimension: of bits.
        choice: of the dimension.
    """
    in_float = LayerChoice(32, 32, recurrent_bits=32, hidden_bits=32)
    choices = dict.fromkeys(space.layers, in_float)
    choices[dimension.layer] = replace(in_float, **{dimension.field: choice})
    return space.tied(choices)


def _near_plan(space: SearchSpace, base: Point, dimension: Dimension, choice: Any) -> Plan:
    """A point without growth, with one dimension changed.

    Args:
        space: of the dimension.
        base: the point.
        dimension: of bits.
        choice: of the dimension.
    """
    indices = [
        d.choices.index(choice) if d == dimension else 0 if d.field == "width" else index
        for d, index in zip(space.dimensions, base, strict=True)
    ]
    return space.plan(tuple(indices))


def _gradient_scores(start: StartingPoint, space: SearchSpace) -> Scores:
    """Sums over weights of the squared gradient, a mean over batches, times the squared error."""
    squares = _squared_gradients(start)
    layers = {layer.name: layer for layer in start.network.layers}
    scores: Scores = {}
    for dimension in space.dimensions:
        if not dimension.is_weight_bits:
            continue
        split = f"{dimension.layer}.recurrent_bits" in {d.name for d in space.dimensions}
        role = {"weight_bits": "weight", "recurrent_bits": "recurrent"}[dimension.field]
        roles = (role,) if split else ("weight", "recurrent")
        parameters = [p for p in layers[dimension.layer].parameters if p.role in roles]
        scores[dimension.name] = [
            sum(
                _error_score(start, squares, f"{dimension.layer}.{p.name}", bits, p.role)
                for p in parameters
            )
            for bits in dimension.choices
        ]
    return scores


def _squared_gradients(start: StartingPoint) -> dict[str, torch.Tensor]:
    """The mean squared gradient of every parameter of the float model, by name."""
    model, task = copy_model(start.model).eval(), start.task
    squares = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    carry = None
    for batch in islice(task.batches(start.settings.seed), 4 * BATCHES):
        model.zero_grad()
        loss, carry = task.loss(model, batch, carry)
        loss.backward()  # type: ignore[no-untyped-call]
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                squares[name] += parameter.grad**2 / (4 * BATCHES)
    return squares


@torch.no_grad()
def _error_score(
    start: StartingPoint, squares: dict[str, torch.Tensor], name: str, bits: Any, role: str
) -> float:
    """The score of one parameter at a number of bits.

    Args:
        start: the float model.
        squares: of the gradients.
        name: of the parameter.
        bits: of its values.
        role: of the parameter.
    """
    weight = start.model.get_parameter(name)
    quantizer = WeightQuantizer(weight, bits, start.settings.quantizer, role)
    return float((squares[name] * (quantizer(weight) - weight) ** 2).sum())
