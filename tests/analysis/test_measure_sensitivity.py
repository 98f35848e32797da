"""Loss increases, layer by layer, against weights that are replaced by hand."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import nn

from autoquant.analysis.measure_sensitivity import (
    MAX_MEASURED_BITS,
    load_or_measure_sensitivity,
    measure_sensitivity,
)
from autoquant.analysis.sensitivity import Sensitivity
from autoquant.graph.network import Network
from autoquant.settings import Scheme, Search, Space, Training
from autoquant.space.search_space import SearchSpace, build_space
from autoquant.training.candidate import StartingPoint
from tests.toys import language_task, prepared

TASK = language_task(10, 400, batch_size=10, length=4, probe_tokens=50, embedding=4, hidden=8)
WIDE = Space(weight_bits=(2, 3, 4, 6, 8), width=(1.0, 1.5))


@cache
def trained() -> tuple[nn.Module, Network]:
    """A model with something to lose."""
    torch.manual_seed(0)
    model, network = prepared(TASK.build_model())
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for batch in islice(TASK.batches(0), 200):
        optimizer.zero_grad()
        TASK.loss(model, batch, None)[0].backward()
        optimizer.step()
    return model, network


def starting_point_of(**changes: object) -> StartingPoint:
    model, network = trained()
    settings = Search(space=WIDE, qat=Training(distill=0.0), sensitivity=3, seed=5)
    return StartingPoint(TASK, copy.deepcopy(model), network, replace(settings, **changes))  # type: ignore[arg-type]


def space_of(starting_point: StartingPoint) -> SearchSpace:
    return build_space(starting_point.network, (), starting_point.settings.space)


@pytest.fixture
def starting_point() -> StartingPoint:
    return starting_point_of()


@pytest.fixture
def measured(starting_point: StartingPoint) -> Sensitivity:
    return measure_sensitivity(
        starting_point, space_of(starting_point), starting_point.settings.qat, progress=False
    )


def by_hand(starting_point: StartingPoint, parameter: str, bits: int) -> float:
    """The loss increase of one rounded parameter; the rows' scales are the best of 400."""
    model = copy.deepcopy(starting_point.model)
    weight = dict(model.named_parameters())[parameter]
    with torch.no_grad():
        weight.copy_(torch.stack([nearest(row, bits) for row in weight]))
    return loss_of(starting_point, model) - loss_of(starting_point, starting_point.model)


def nearest(row: torch.Tensor, bits: int) -> torch.Tensor:
    """On a midrise grid, as few bits have it."""
    top = 2 ** (bits - 1)
    tried = []
    for share in torch.linspace(0.02, 1.2, 400):
        step = share * row.abs().max() / max(1, top - 0.5)
        tried.append(step * (torch.clamp((row / step - 0.5).round(), -top, top - 1) + 0.5))
    return min(tried, key=lambda rounded: float((rounded - row).square().sum()))


@torch.no_grad()
def loss_of(starting_point: StartingPoint, model: nn.Module) -> float:
    total, carry = 0.0, None
    for batch in islice(
        TASK.batches(starting_point.settings.seed), starting_point.settings.sensitivity
    ):
        loss, carry = TASK.loss(model, batch, carry)
        total += float(loss)
    return total / starting_point.settings.sensitivity


def test_each_dimension_of_weights_has_a_loss_increase_for_each_choice(
    starting_point: StartingPoint, measured: Sensitivity
) -> None:
    names = {d.name for d in space_of(starting_point).dimensions if d.is_weight_bits}
    assert set(measured.loss_increases) == names
    assert all(tuple(each) == WIDE.weight_bits for each in measured.loss_increases.values())


def test_loss_increases_never_grow_with_the_bits(measured: Sensitivity) -> None:
    for increases in (list(each.values()) for each in measured.loss_increases.values()):
        assert all(increase >= 0 for increase in increases)
        assert increases == sorted(increases, reverse=True)


def test_beyond_the_measured_bits_a_loss_increase_falls_to_a_quarter_with_each(
    measured: Sensitivity,
) -> None:
    for increases in measured.loss_increases.values():
        assert increases[6] == pytest.approx(increases[MAX_MEASURED_BITS] * 0.25**2)
        assert increases[8] == pytest.approx(increases[MAX_MEASURED_BITS] * 0.25**4)


@pytest.mark.parametrize("bits", [2, 3])
@pytest.mark.parametrize("layer", ["embedding", "decoder"])
def test_a_loss_increase_is_that_of_rounded_weights(
    layer: str, bits: int, starting_point: StartingPoint, measured: Sensitivity
) -> None:
    found = measured.loss_increases[f"{layer}.weight_bits"][bits]
    assert found == pytest.approx(by_hand(starting_point, f"{layer}.weight", bits), rel=0.05)
    assert found > 0.005


def test_recurrent_weights_of_their_own() -> None:
    starting_point = starting_point_of(space=replace(WIDE, split_recurrent=True))
    increases = measure_sensitivity(
        starting_point, space_of(starting_point), starting_point.settings.qat, progress=False
    ).loss_increases
    assert {"rnn.l0.weight_bits", "rnn.l0.recurrent_bits"} <= set(increases)
    assert increases["rnn.l0.weight_bits"] != increases["rnn.l0.recurrent_bits"]


def test_the_float_model_stays_as_it_was(starting_point: StartingPoint) -> None:
    before = copy.deepcopy(starting_point.model.state_dict())
    starting_point.model.train()
    measure_sensitivity(
        starting_point, space_of(starting_point), starting_point.settings.qat, progress=False
    )
    after = starting_point.model.state_dict()
    assert starting_point.model.training
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_the_same_twice(starting_point: StartingPoint, measured: Sensitivity) -> None:
    assert (
        measure_sensitivity(
            starting_point, space_of(starting_point), starting_point.settings.qat, progress=False
        )
        == measured
    )


def test_the_quantizer_of_the_settings_is_used(measured: Sensitivity) -> None:
    other = starting_point_of(quantizer=Scheme(scale="mean", granularity="tensor"))
    assert (
        measure_sensitivity(other, space_of(other), other.settings.qat, progress=False) != measured
    )


def test_a_loss_that_is_not_a_number_is_infinitely_bad(
    starting_point: StartingPoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([1.0, math.nan, *[1.5] * 1000])
    monkeypatch.setattr(
        "autoquant.analysis.measure_sensitivity._mean_loss", lambda *given: next(losses)
    )
    increases = measure_sensitivity(
        starting_point, space_of(starting_point), starting_point.settings.qat, progress=False
    ).loss_increases
    first = next(iter(increases.values()))
    assert (first[2], first[3]) == (math.inf, 0.5)


def test_it_is_measured_once(
    starting_point: StartingPoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sensitivity.json"
    found = load_or_measure_sensitivity(
        starting_point, space_of(starting_point), starting_point.settings.qat, path, progress=False
    )
    monkeypatch.setattr("autoquant.analysis.measure_sensitivity.measure_sensitivity", None)
    assert (
        load_or_measure_sensitivity(
            starting_point,
            space_of(starting_point),
            starting_point.settings.qat,
            path,
            progress=False,
        )
        == found
    )
