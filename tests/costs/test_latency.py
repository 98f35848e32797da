"""Latency: what is measured, how often, and that it is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from autoquant.costs import cost_named, latency_table, layer_timing
from autoquant.costs.latency_table import LatencyTable
from autoquant.costs.layer_timing import measure_layer, timing_choice
from autoquant.errors import UserError
from autoquant.graph.network import Network
from autoquant.graph.prepare import prepare
from autoquant.plan import LayerChoice, Plan
from autoquant.settings import Scheme
from tests.toys import described, language_model, treebank

MODULES = {
    "linear": nn.Linear(3, 4),
    "embedding": nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 2)),
    "bidirectional lstm with a projection": nn.LSTM(3, 5, proj_size=2, bidirectional=True),
    "gru": nn.GRU(3, 5),
    "rnn": nn.RNN(3, 5, bias=False),
    "convolution": nn.Conv1d(4, 6, 3),
}


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_timing, "ROUND_SECONDS", 1e-5)
    monkeypatch.setattr(layer_timing, "ROUNDS", 2)


def network_of(name: str) -> Network:
    inputs = (torch.randn(2, 4, 9),) if name == "convolution" else ()
    return described(prepare(MODULES[name]), *inputs)


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("scheme", [Scheme(), Scheme.bit_rnn()], ids=["lsq", "bit_rnn"])
@pytest.mark.parametrize("bits", [(4, 8), (1.6, 4), (8, 16), (32, 32)], ids=str)
def test_every_kind_of_layer_has_a_time(name: str, scheme: Scheme, bits: tuple[int, int]) -> None:
    layers = network_of(name).layers
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    for layer in layers:
        assert 0 < measure_layer(layer, LayerChoice(*bits), scheme) < 1
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_choices_that_run_alike_are_one() -> None:
    embedding, lstm, decoder = described(prepare(language_model(layers=1))).layers
    assert timing_choice(embedding, LayerChoice(1.6, 8)) == LayerChoice(2)
    assert timing_choice(decoder, LayerChoice(16, 4)) == LayerChoice(32, 8)
    assert timing_choice(lstm, LayerChoice(3, 16)) == LayerChoice(3, 16, 1.0, 3, 16)


def test_each_shape_and_bits_are_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[LayerChoice] = []

    def measured(layer: object, choice: LayerChoice, scheme: Scheme) -> float:
        calls.append(choice)
        return 2.0

    monkeypatch.setattr(latency_table, "measure_layer", measured)
    table = LatencyTable()
    layer, alike = (described(prepare(nn.Linear(3, 4))).layers[0] for _ in range(2))
    for bits in ((4, 8), (4, 6), (1.6, 8), (2, 4), (4, 16), (16, 32), (32, 32)):
        assert table.of(layer, LayerChoice(*bits), Scheme()) == 2.0
        table.of(alike, LayerChoice(*bits), Scheme())
    assert len(calls) == len(table.seconds) == 4


def test_measurements_are_kept_in_a_file(tmp_path: Path) -> None:
    table, path = LatencyTable({"linear weight:4x3 w4": 1.5e-6}), tmp_path / "latency.json"
    table.write(path)
    other = LatencyTable({"linear weight:4x3 w4": 9.0, "another": 2.0})
    other.read(path)
    assert other.seconds == {"linear weight:4x3 w4": 1.5e-6, "another": 2.0}
    path.write_text("[1]")
    with pytest.raises(UserError, match=r"latency.json' must be as a search wrote it"):
        other.read(path)


def test_latency_is_the_sum_over_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"embedding": 1.0, "lstm": 10.0, "linear": 100.0}
    monkeypatch.setattr(latency_table.LATENCIES, "seconds", {})
    monkeypatch.setattr(latency_table, "measure_layer", lambda layer, *_: seconds[layer.kind])
    network = treebank()
    plan = Plan.uniform(network.names, LayerChoice(4, 8))
    expected = sum(seconds[layer.kind] for layer in network.layers)
    assert cost_named("latency").of(network, plan, Scheme()) == expected
