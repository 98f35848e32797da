"""Loss increases of few bits, against losses of networks that are quantized one by one."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import kendalltau
from torch import Tensor, nn

from autoquant.analysis import measure_sensitivity as module
from autoquant.analysis.measure_sensitivity import (
    FORWARD_PASSES,
    load_or_measure_sensitivity,
    measure_sensitivity,
)
from autoquant.analysis.sensitivity import Sensitivity
from autoquant.graph.prepare import prepare
from autoquant.plan import LayerChoice, Plan
from autoquant.settings import Scheme, Search, Space, Training
from autoquant.space.search_space import SearchSpace, build_space, uniform_plan
from autoquant.task import Task
from autoquant.tasks.supervised import SupervisedTask
from autoquant.training.candidate import StartingPoint
from autoquant.training.eval_losses import eval_losses
from autoquant.training.qat import calibrate, quantize
from tests.toys import described, example_of, language_task, stack, tagger

CHOICES = Space(weight_bits=(1, 2, 3, 4), activation_bits=(4, 8, 16), width=(1.0,))


class Listener(nn.Module):
    """Convolutions over magnitudes that span three decades, a logarithm, an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(8, 12, 3, padding=1)
        self.mix = nn.Conv1d(12, 12, 1)
        self.rnn = nn.LSTM(12, 16, batch_first=True)
        self.out = nn.Linear(16, 4)

    def forward(self, magnitudes: Tensor) -> Tensor:  # [B, 8, T] -> [B, 4]
        values = torch.log(self.conv(magnitudes).abs() + 1e-4)
        hidden, _ = self.rnn(torch.relu(self.mix(values)).transpose(1, 2))
        return self.out(hidden[:, -1])


def listening_task() -> SupervisedTask:
    """Four patterns, each at any loudness."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 4, (2048,), generator=generator)
    patterns = torch.randn(4, 8, 6, generator=generator)
    noise = torch.randn(2048, 8, 6, generator=generator)
    loudness = 10 ** (-3 * torch.rand(2048, 1, 1, generator=generator))
    data = ((patterns[targets] + 1.2 * noise).exp() * loudness, targets)
    return SupervisedTask(Listener, data, data, data, batch_size=128)


def language() -> Task:
    return language_task(12, 4000, batch_size=40, length=8, embedding=6, hidden=10)


def trained(task: Task, steps: int) -> nn.Module:
    torch.manual_seed(0)
    model = prepare(task.build_model())
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for batch in islice(task.batches(0), steps):
        optimizer.zero_grad()
        task.loss(model, batch, None)[0].backward()
        optimizer.step()
    return model.eval()


@cache
def starting_point_of(make_task: Callable[[], Task], steps: int = 150) -> StartingPoint:
    task = make_task()
    model = trained(task, steps)
    network = described(model, *task.example().inputs)
    settings = Search(space=CHOICES, qat=Training(distill=0.0), seed=5)
    return StartingPoint(task, model, network, settings)


def space_of(starting_point: StartingPoint) -> SearchSpace:
    return build_space(starting_point.network, (), starting_point.settings.space)


def measured(
    starting_point: StartingPoint, weight_bits: int = 4, activation_bits: int = 16
) -> Sensitivity:
    space = space_of(starting_point)
    reference = even(starting_point, weight_bits, activation_bits)
    training = starting_point.settings.qat
    return measure_sensitivity(starting_point, space, training, reference)


def even(starting_point: StartingPoint, weight_bits: int, activation_bits: int) -> Plan:
    choice = LayerChoice(weight_bits, activation_bits)
    return uniform_plan(space_of(starting_point), starting_point.network, choice)


@torch.no_grad()
def loss_of(starting_point: StartingPoint, plan: Plan, batches: int = 8) -> float:
    """Of a copy that is quantized and calibrated as any candidate."""
    task, settings = starting_point.task, starting_point.settings
    model = copy.deepcopy(starting_point.model)
    quantize(model, starting_point.network, plan, settings.quantizer)
    calibrate(model, task, settings.seed)
    losses = eval_losses(model, task.loss, islice(task.batches(settings.seed), batches))
    return sum(map(float, losses)) / batches


def direct(starting_point: StartingPoint, reference: Plan) -> Iterator[tuple[str, float, float]]:
    """(dimension, choice, loss increase) of every choice."""
    for dimension in space_of(starting_point).dimensions:
        layer, field = dimension.layer, dimension.field
        least = loss_of(starting_point, reference.with_choice(layer, **{field: 32}))
        for choice in dimension.choices:
            plan = reference.with_choice(layer, **{field: choice})
            yield dimension.name, choice, loss_of(starting_point, plan) - least


@pytest.mark.parametrize(
    "make_task",
    [
        pytest.param(language, id="language"),
        pytest.param(listening_task, id="conv-lstm", marks=pytest.mark.slow),
    ],
)
def test_all_choices_are_ranked_as_direct_measurements_rank_them(
    make_task: Callable[[], Task],
) -> None:
    starting_point = starting_point_of(make_task)
    increases = measured(starting_point).loss_increases
    rows = [*direct(starting_point, even(starting_point, 4, 16))]
    found = [increases[name][choice] for name, choice, _ in rows]
    assert kendalltau(found, [value for *_, value in rows]).statistic >= 0.6


def test_inputs_that_span_decades_need_more_than_8_bits() -> None:
    sensitivity = measured(starting_point_of(listening_task))
    name = "conv.activation_bits"
    increases, deviations = sensitivity.loss_increases[name], sensitivity.deviations[name]
    difference = increases[8] - increases[16]
    assert difference > 0.1
    assert difference > 2.5 * math.hypot(deviations[8], deviations[16])
    others = [
        by_choice[8]
        for other, by_choice in sensitivity.loss_increases.items()
        if other.endswith("activation_bits") and other != name
    ]
    assert max(others) < 0.1 * increases[8]


def test_each_dimension_of_bits_has_an_increase_and_an_error_for_each_choice() -> None:
    starting_point = starting_point_of(language)
    sensitivity = measured(starting_point)
    dimensions = [d for d in space_of(starting_point).dimensions if d.is_bits]
    for values in (sensitivity.loss_increases, sensitivity.deviations):
        assert [*values] == [dimension.name for dimension in dimensions]
        assert [tuple(each) for each in values.values()] == [d.choices for d in dimensions]
        assert all(value >= 0 for each in values.values() for value in each.values())
    assert {d.field for d in dimensions} == {
        *("weight_bits", "recurrent_bits", "activation_bits", "hidden_bits")
    }
    assert sensitivity.reference == even(starting_point, 4, 16)


MODELS: dict[str, Callable[[], nn.Module]] = {
    "lstm": lambda: stack(layers=2),
    "gru": lambda: stack(cell="GRU"),
    "rnn, two directions": lambda: stack(cell="RNN", bidirectional=True),
    "projection": lambda: stack(projection=3),
    "packed": tagger,
    "attention": lambda: nn.Sequential(nn.Linear(6, 8), nn.TransformerEncoderLayer(8, 2, 8, 0.0)),
    "transposed": lambda: nn.Sequential(
        *(nn.Linear(6, 8), nn.ConvTranspose1d(3, 4, 3), nn.ReLU(), nn.Conv1d(4, 2, 3))
    ),
}


class Regression:
    """Any model's outputs are to be 1."""

    name, metric, direction = "regression", "mse", "minimize"

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.inputs = example_of(model)[0]

    def batches(self, seed: int, start: int = 0) -> Iterator[Tensor]:
        for number in range(start, 100):
            generator = torch.Generator().manual_seed(1000 * seed + number)
            noise = torch.randn(self.inputs.shape, generator=generator)
            yield self.inputs + noise if self.inputs.is_floating_point() else self.inputs

    def loss(self, model: nn.Module, batch: Tensor, carry: Any) -> tuple[Tensor, Any]:
        outputs = model(batch)
        outputs = outputs[0] if isinstance(outputs, tuple) else outputs
        return (outputs - 1).square().mean(), None


def regression_of(model: nn.Module, **changes: Any) -> StartingPoint:
    task: Any = Regression(model)
    ready = prepare(model).eval()
    settings = Search(space=CHOICES, qat=Training(distill=0.0), sensitivity=3, **changes)
    return StartingPoint(task, ready, described(ready, task.inputs), settings)


@pytest.mark.parametrize("name", MODELS)
def test_any_model(name: str) -> None:
    torch.manual_seed(0)
    starting_point = regression_of(MODELS[name]())
    sensitivity = measured(starting_point, 3, 8)
    assert len(sensitivity.loss_increases) >= 2 * len(starting_point.network.layers) - 1
    for by_choice in sensitivity.loss_increases.values():
        values = [*by_choice.values()]
        assert all(map(math.isfinite, values))
        assert values == sorted(values, reverse=True)
        assert values[0] > values[-1]


class Frozen(nn.Module):
    """A front whose weights are frozen, and one that runs without gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.unseen, self.front, self.back = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 2)
        self.front.requires_grad_(False)

    def forward(self, values: Tensor) -> Tensor:
        with torch.no_grad():
            values = self.unseen(values).relu()
        return self.back(self.front(values).relu())


def test_frozen_weights_and_layers_without_gradients() -> None:
    torch.manual_seed(0)
    increases = measured(regression_of(Frozen())).loss_increases
    for layer in ("unseen", "front", "back"):
        assert increases[f"{layer}.weight_bits"][1] > 0
        assert increases[f"{layer}.activation_bits"][4] > 0


def test_bit_rnn_quantizer() -> None:
    torch.manual_seed(0)
    increases = measured(regression_of(stack(), quantizer=Scheme.bit_rnn()), 2, 4).loss_increases
    assert all(math.isfinite(value) for each in increases.values() for value in each.values())


def test_the_quantizer_of_the_settings_is_used() -> None:
    starting_point = starting_point_of(language)
    settings = starting_point.settings.changed(quantizer=Scheme(scale="mean", granularity="tensor"))
    assert measured(replace(starting_point, settings=settings)) != measured(starting_point)


def test_the_float_model_stays_as_it_was_and_the_numbers_are_the_same_twice() -> None:
    starting_point = starting_point_of(language)
    before = copy.deepcopy(starting_point.model.state_dict())
    starting_point.model.train()
    first, second = measured(starting_point), measured(starting_point)
    after = starting_point.model.state_dict()
    assert first == second
    assert starting_point.model.training
    assert all(parameter.requires_grad for parameter in starting_point.model.parameters())
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("layers", [1, 12])
def test_the_number_of_passes_does_not_depend_on_the_number_of_layers(
    layers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    starting_point = regression_of(nn.Sequential(*(nn.Linear(4, 4) for _ in range(layers))))
    calls = []
    loss = starting_point.task.loss
    monkeypatch.setattr(
        starting_point.task, "loss", lambda *given: calls.append(len(calls)) or loss(*given)
    )
    measured(starting_point)
    calibration = 8
    assert len(calls) <= calibration + starting_point.settings.sensitivity + FORWARD_PASSES


def test_a_loss_that_is_not_a_number_is_infinitely_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    starting_point = regression_of(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)))
    run = module._Passes.run

    def spoiled(passes: Any, batch: Any, carry: Any) -> Any:
        loss, carry = run(passes, batch, carry)
        weight = passes.model[1].parametrizations["weight"][0]
        is_spoiled = weight.grid is not None and weight.grid.qmax < 1  # of 1 bit
        return (loss * math.nan if is_spoiled else loss), carry

    monkeypatch.setattr(module._Passes, "run", spoiled)
    increases = measured(starting_point, 3).loss_increases
    assert increases["1.weight_bits"][1] == math.inf
    assert math.isfinite(increases["1.weight_bits"][2])


def test_a_reference_without_a_finite_loss() -> None:
    starting_point = regression_of(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)))
    task: Any = starting_point.task
    task.loss = lambda model, batch, carry: (model(batch).sum() * math.nan, None)
    sensitivity = measured(starting_point)
    assert all(
        math.isfinite(x) for each in sensitivity.loss_increases.values() for x in each.values()
    )


def test_it_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starting_point = regression_of(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)))
    path = tmp_path / "sensitivity.json"
    path.write_text('{"loss_increases": {"0.weight_bits": {"2": 0.5}}}')  # of an earlier version
    given = (
        *(starting_point, space_of(starting_point), starting_point.settings.qat, path),
        even(starting_point, 4, 8),
    )
    found = load_or_measure_sensitivity(*given)
    assert "0.activation_bits" in found.loss_increases
    monkeypatch.setattr(module, "measure_sensitivity", None)
    assert load_or_measure_sensitivity(*given) == found
