"""The paper's choice of layers at full size, growth against models that are really widened."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autoquant.analysis.model_info import profile
from autoquant.analysis.profile import (
    PROFILED_WIDTHS,
    Profile,
    growth_costs,
    profile_model,
    why_not_widenable,
)
from autoquant.errors import UserError
from autoquant.graph.network import Network
from autoquant.graph.prepare import prepare
from autoquant.graph.widen import WideningRequest, widen
from autoquant.plan import LayerChoice, Plan
from autoquant.settings import Scheme, Widening
from autoquant.task import Example
from tests import toys
from tests.toys import RegressionTask, described, language_task, prepared

# Notes on the paper, section 2: Mozilla's DeepSpeech v0.1.1. Name: parameters, share in percent.
TABLE = {
    "fc1": (1_013_760, 0.83),
    "fc2": (4_196_352, 3.42),
    "fc3": (8_392_704, 6.84),
    "rnn.l0": (100_679_680, 82.03),
    "fc5": (8_390_656, 6.84),
    "fc6": (59_421, 0.05),
}


@pytest.fixture(scope="module")
def deep_speech() -> Profile:
    """At full size; on the meta device, so that nothing is allocated or computed."""
    with torch.device("meta"):
        model = prepare(toys.DeepSpeech(494, 2048, 4096, 29))
        example = Example((torch.zeros(50, 2, 494),), 100, "frame")
        return profile_model(model, described(model, *example.inputs), example, Widening())


def test_deep_speech_sizes_are_the_papers(deep_speech: Profile) -> None:
    assert deep_speech.parameters == 122_732_573
    for name, (parameters, percent) in TABLE.items():
        assert deep_speech[name].parameters == parameters
        assert round(100 * deep_speech[name].share, 2) == percent
    assert deep_speech["rnn.l0"].shape == "4096 -> 2 x 2048"


def test_deep_speech_default_rule_picks_the_papers_layers(deep_speech: Profile) -> None:
    assert sorted(deep_speech.widenable) == ["fc1", "fc2", "fc5"]


def test_deep_speech_reasons(deep_speech: Profile) -> None:
    reasons = {layer.name: layer.reason for layer in deep_speech.layers}
    assert reasons == {
        "fc1": "small, and cheap to grow",
        "fc2": "small, and cheap to grow",
        "fc3": "x1.5 would add 30.8% to the model, above widening.max_growth=0.1",
        "rnn.l0": "holds 82.0% of the parameters, above widening.max_share=0.1",
        "fc5": "small, and cheap to grow",
        "fc6": "feeds the model's output",
    }


def test_deep_speech_growth_sets_apart_layers_of_equal_share(deep_speech: Profile) -> None:
    """By hand, x1.5: 2048 new rows of FC3 and their columns in 2 x 4 gates of 2048 units."""
    half = {layer.name: {g.width: g for g in layer.growth} for layer in deep_speech.layers}
    fc3 = 2048 * (2048 + 1) + 2048 * (2 * 4 * 2048)
    fc5 = 1024 * (4096 + 1) + 1024 * 29
    assert half["fc3"][1.5].added_bytes == 4 * fc3
    assert half["fc5"][1.5].added_bytes == 4 * fc5
    assert half["fc3"][1.5].added_share > 7 * half["fc5"][1.5].added_share
    assert half["fc6"] == {}


def test_deep_speech_operations(deep_speech: Profile) -> None:
    """Every weight is used once a frame, biases are not counted."""
    assert deep_speech["fc1"].macs == 494 * 2048
    assert deep_speech["rnn.l0"].macs == 2 * 4 * 2048 * (4096 + 2048)
    assert deep_speech.unit == "frame"


def test_largest_share_first(deep_speech: Profile) -> None:
    shares = [layer.share for layer in deep_speech.layers]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("widening", "expected"),
    [
        (Widening(max_growth=0.5), ["fc1", "fc2", "fc3", "fc5"]),
        (Widening(max_share=1.0), ["fc1", "fc2", "fc5"]),
        (Widening(max_share=1.0, max_growth=2.0), ["fc1", "fc2", "fc3", "fc5", "rnn.l0"]),
        (Widening(max_share=0.01), ["fc1"]),
        (Widening(max_growth=0.03), ["fc1"]),
        (Widening(max_growth=0.02), []),
        (Widening(max_share=0.0), []),
    ],
    ids=str,
)
def test_thresholds(widening: Widening, expected: list[str], deep_speech: Profile) -> None:
    with torch.device("meta"):
        network = described(prepare(toys.DeepSpeech(494, 2048, 4096, 29)))
    chosen = [
        layer.name
        for layer in network.layers
        if not why_not_widenable(layer, growth_costs(layer, network), network, widening)
    ]
    assert sorted(chosen) == expected


# --- growth, against the real thing ---------------------------------------------------------------


class Residual(nn.Module):
    """Two layers whose units are added, and a leftover."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.last = nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, values: Tensor) -> Tensor:
        first = torch.relu(self.one(values))
        return self.last(first + self.two(first)) * self.gain


SOURCES = {
    "language": lambda: toys.language_model(),
    "gru language": lambda: toys.language_model(cell="gru", layers=3),
    "deep speech": lambda: toys.deep_speech(),
    "residual": Residual,
    "bidirectional stack": lambda: toys.stack(cell="RNN", layers=2, bidirectional=True),
}


def parameters_of(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("source", SOURCES)
def test_growth_is_what_a_widened_model_has_more(source: str) -> None:
    model, network = prepared(SOURCES[source]())
    grew = 0
    for layer in network.layers:
        growth = growth_costs(layer, network)
        assert (growth == ()) == (network.why_fixed(layer.name) is not None)
        for each in growth:
            wide = widen(
                model, network, WideningRequest(grown(network, layer.name, each.width), *RULE)
            )[0]
            added = parameters_of(wide) - parameters_of(model)
            assert each.added_bytes == 4 * added
            assert each.added_share == added / parameters_of(model)
            grew += added > 0  # a quarter of four units is rounded away
    assert grew >= 2 * (len(PROFILED_WIDTHS) - 1)


RULE: Any = (Scheme(), "split", 0)


def grown(network: Network, name: str, width: float) -> Plan:
    """One layer, and those tied to it, at a width."""
    tied = network.groups[name]
    return Plan(
        {
            each: LayerChoice(width=width if network.groups[each] == tied else 1.0)
            for each in network.names
        }
    )


# --- operations -----------------------------------------------------------------------------------


def test_language_model_operations_are_for_a_token() -> None:
    found = profile(language_task(embedding=8, hidden=12))
    words = found["embedding"].parameters // 8
    assert found.unit == "token"
    assert found["embedding"].macs == 0
    assert found["rnn.l0"].macs == 4 * 12 * (8 + 12)
    assert found["decoder"].macs == 12 * words


def test_a_layer_called_twice_costs_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(5, 5)

        def forward(self, values: Tensor) -> Tensor:
            return self.fc(torch.relu(self.fc(values)))

    found = profile(RegressionTask(Twice(), torch.randn(4, 3, 5)))
    assert found["fc"].macs == 2 * 25


def test_a_layer_that_sees_fewer_positions_costs_less() -> None:
    """A classifier that reads the last of 4 steps: a quarter of its weights a frame."""

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.fc = nn.GRU(5, 6), nn.Linear(6, 8)

        def forward(self, values: Tensor) -> Tensor:
            return self.fc(self.rnn(values)[0][-1])

    found = profile(RegressionTask(Last(), torch.randn(4, 3, 5)))
    assert found["rnn.l0"].macs == 3 * 6 * (5 + 6)
    assert found["fc"].macs == 6 * 8 // 4


# --- form -----------------------------------------------------------------------------------------


def test_json(deep_speech: Profile) -> None:
    content = json.loads(deep_speech.to_json())
    assert set(content) == {"layers", "parameters", "unit", "coverage"}
    by_name = {layer["name"]: layer for layer in content["layers"]}
    assert set(by_name) == set(TABLE)
    assert by_name["fc2"]["widenable"] is True
    assert [each["width"] for each in by_name["fc2"]["growth"]] == list(PROFILED_WIDTHS)
    assert by_name["fc6"]["growth"] == []
    assert deep_speech.to_json().endswith("}\n")


def test_a_model_that_branches_on_data_is_profiled_and_says_so() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.last = nn.Linear(5, 6), nn.Linear(6, 3)

        def forward(self, values: Tensor) -> Tensor:
            values = self.fc(values)
            return self.last(values if values.mean() > 0 else -values)

    found = profile(RegressionTask(Branching(), torch.randn(4, 3, 5)))
    assert found.widenable == ()
    assert re.match(r"is read across .* by 'mean' \(test_profile", found["fc"].reason)
    assert re.match(r"the forward pass branches on data \(test_profile", found["last"].reason)
    assert found["fc"].macs == 30


def test_a_model_without_known_layers_is_refused() -> None:
    task = RegressionTask(nn.Softmax(-1), torch.randn(4, 3, 5))
    with pytest.raises(UserError, match="at least one layer that autoquant knows"):
        profile(task)


def test_profiling_leaves_the_tasks_model_alone() -> None:
    source = toys.stack()
    source.train()
    task = RegressionTask(source, torch.randn(6, 3, 5))
    before = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    profile(task)
    assert source.training
    assert isinstance(source.rnn, nn.LSTM)
    assert all(torch.equal(before[name], t) for name, t in source.state_dict().items())
