"""Rises of the loss, layer by layer, against weights that are replaced by hand."""

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
    measure_sensitivity,
    recorded_sensitivity,
)
from autoquant.analysis.sensitivity import Sensitivity
from autoquant.graph.network import Network
from autoquant.settings import Scheme, Search, Space, Training
from autoquant.space.search_space import SearchSpace, build_space
from autoquant.training.candidate import Base
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


def base_of(**changes: object) -> Base:
    model, network = trained()
    settings = Search(space=WIDE, qat=Training(distill=0.0), sensitivity=3, seed=5)
    return Base(TASK, copy.deepcopy(model), network, replace(settings, **changes))  # type: ignore[arg-type]


def space_of(base: Base) -> SearchSpace:
    return build_space(base.network, (), base.settings.space)


@pytest.fixture
def base() -> Base:
    return base_of()


@pytest.fixture
def measured(base: Base) -> Sensitivity:
    return measure_sensitivity(base, space_of(base), base.settings.qat, progress=False)


def by_hand(base: Base, parameter: str, bits: int) -> float:
    """The rise when one parameter is rounded, the rows' step sizes found by trying 400 of them."""
    model = copy.deepcopy(base.model)
    weight = dict(model.named_parameters())[parameter]
    with torch.no_grad():
        weight.copy_(torch.stack([nearest(row, bits) for row in weight]))
    return loss_of(base, model) - loss_of(base, base.model)


def nearest(row: torch.Tensor, bits: int) -> torch.Tensor:
    """On a midrise grid, as few bits have it."""
    top = 2 ** (bits - 1)
    tried = []
    for share in torch.linspace(0.02, 1.2, 400):
        step = share * row.abs().max() / max(1, top - 0.5)
        tried.append(step * (torch.clamp((row / step - 0.5).round(), -top, top - 1) + 0.5))
    return min(tried, key=lambda rounded: float((rounded - row).square().sum()))


@torch.no_grad()
def loss_of(base: Base, model: nn.Module) -> float:
    total, carry = 0.0, None
    for batch in islice(TASK.batches(base.settings.seed), base.settings.sensitivity):
        loss, carry = TASK.loss(model, batch, carry)
        total += float(loss)
    return total / base.settings.sensitivity


def test_each_dimension_of_weights_has_a_rise_for_each_choice(
    base: Base, measured: Sensitivity
) -> None:
    names = {d.name for d in space_of(base).dimensions if d.weighs}
    assert set(measured.rises) == names
    assert all(tuple(each) == WIDE.weight_bits for each in measured.rises.values())


def test_rises_never_rise_with_the_bits(measured: Sensitivity) -> None:
    for rises in (list(each.values()) for each in measured.rises.values()):
        assert all(rise >= 0 for rise in rises)
        assert rises == sorted(rises, reverse=True)


def test_beyond_the_measured_bits_a_rise_falls_to_a_quarter_with_each(
    measured: Sensitivity,
) -> None:
    for rises in measured.rises.values():
        assert rises[6] == pytest.approx(rises[MAX_MEASURED_BITS] * 0.25**2)
        assert rises[8] == pytest.approx(rises[MAX_MEASURED_BITS] * 0.25**4)


@pytest.mark.parametrize("bits", [2, 3])
@pytest.mark.parametrize("layer", ["embedding", "decoder"])
def test_a_rise_is_that_of_rounded_weights(
    layer: str, bits: int, base: Base, measured: Sensitivity
) -> None:
    found = measured.rises[f"{layer}.weight_bits"][bits]
    assert found == pytest.approx(by_hand(base, f"{layer}.weight", bits), rel=0.05)
    assert found > 0.005


def test_recurrent_weights_of_their_own() -> None:
    base = base_of(space=replace(WIDE, split_recurrent=True))
    rises = measure_sensitivity(base, space_of(base), base.settings.qat, progress=False).rises
    assert {"rnn.l0.weight_bits", "rnn.l0.recurrent_bits"} <= set(rises)
    assert rises["rnn.l0.weight_bits"] != rises["rnn.l0.recurrent_bits"]


def test_the_float_model_stays_as_it_was(base: Base) -> None:
    before = copy.deepcopy(base.model.state_dict())
    base.model.train()
    measure_sensitivity(base, space_of(base), base.settings.qat, progress=False)
    after = base.model.state_dict()
    assert base.model.training
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_the_same_twice(base: Base, measured: Sensitivity) -> None:
    assert measure_sensitivity(base, space_of(base), base.settings.qat, progress=False) == measured


def test_the_quantizer_of_the_settings_is_used(measured: Sensitivity) -> None:
    other = base_of(quantizer=Scheme(scale="mean", granularity="tensor"))
    assert (
        measure_sensitivity(other, space_of(other), other.settings.qat, progress=False) != measured
    )


def test_a_loss_that_is_not_a_number_is_infinitely_bad(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([1.0, math.nan, *[1.5] * 1000])
    monkeypatch.setattr(
        "autoquant.analysis.measure_sensitivity._mean_loss", lambda *given: next(losses)
    )
    rises = measure_sensitivity(base, space_of(base), base.settings.qat, progress=False).rises
    first = next(iter(rises.values()))
    assert (first[2], first[3]) == (math.inf, 0.5)


def test_it_is_measured_once(base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sensitivity.json"
    found = recorded_sensitivity(base, space_of(base), base.settings.qat, path, progress=False)
    monkeypatch.setattr("autoquant.analysis.measure_sensitivity.measure_sensitivity", None)
    assert (
        recorded_sensitivity(base, space_of(base), base.settings.qat, path, progress=False) == found
    )
