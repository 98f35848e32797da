"""Sizes against the files that are written, operations against counts by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from autoquant.artifact import manifest, packed_file
from autoquant.artifact.manifest import Entry
from autoquant.graph.network import Network
from autoquant.graph.prepare import prepare
from autoquant.graph.widen import WideningRequest, widen
from autoquant.plan import ACTIVATION_BITS, WEIGHT_BITS, LayerChoice, Plan
from autoquant.settings import Scheme, Training
from autoquant.training.loop import train
from autoquant.training.qat import build_candidate, quantize
from tests import toys
from tests.artifact.spotter import Spotter, spectra
from tests.toys import RegressionTask, described, layer_bytes, plan_of, treebank

SCHEMES = {
    "lsq channel": Scheme(),
    "lsq tensor": Scheme(granularity="tensor", scale_bits=32, bias_bits=32),
    "bit-rnn": Scheme.bit_rnn(),
    "steps in 8 bits": Scheme(scale_bits=8, bias_bits=8),
    "coded biases": Scheme(bias_bits=4, grid="midtread", activation_scale="unit"),
}


class Odd(nn.Module):
    """Leftovers of several types, and a name that JSON must escape."""

    lead = (3,)

    def __init__(self) -> None:
        super().__init__()
        self.add_module('"é\n', nn.Linear(3, 5))
        self.norm = nn.BatchNorm1d(5)
        self.register_buffer("mask", torch.tensor([True, False, True]))
        self.register_buffer("low", torch.ones(3, dtype=torch.float16))
        self.register_buffer("brain", torch.ones(2, 1, dtype=torch.bfloat16))
        self.register_buffer("few", torch.ones(7, dtype=torch.uint8))
        self.register_buffer("fine", torch.ones((), dtype=torch.float64))
        self.gain = nn.Parameter(torch.ones(5))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.norm(self.get_submodule('"é\n')(values)) * self.gain


def small(model: str) -> nn.Module:
    torch.manual_seed(0)
    return {
        "language": lambda: toys.language_model(),
        "deep speech": lambda: toys.deep_speech(),
        "gru": lambda: toys.stack(cell="GRU", layers=2, bidirectional=True),
        "projected": lambda: toys.stack(layers=2, bidirectional=True, projection=4),
        "packed": lambda: toys.tagger(),
        "rnn without bias": lambda: toys.stack(cell="RNN", bias=False),
        "odd": Odd,
        "bare": lambda: nn.LSTM(3, 4),
        "linear": lambda: nn.Linear(3, 4),
    }[model]()


@st.composite
def plans(draw: st.DrawFn, network: Network) -> Plan:
    weight, activation = st.sampled_from(WEIGHT_BITS), st.sampled_from(ACTIVATION_BITS)
    widths = st.sampled_from([1.0, 1.3, 2.0])
    return Plan(
        {
            name: LayerChoice(
                weight_bits=draw(weight),
                activation_bits=draw(activation),
                width=1.0 if network.why_fixed(name) else draw(widths),
                recurrent_bits=draw(st.none() | weight),
                hidden_bits=draw(st.none() | activation),
            )
            for name in network.names
        }
    )


# --- bytes of the file ----------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    name=st.sampled_from(
        [
            *("language", "deep speech", "gru", "projected", "packed", "rnn without bias"),
            *("odd", "bare", "linear"),
        ]
    ),
    scheme=st.sampled_from(list(SCHEMES.values())),
    data=st.data(),
)
def test_size_is_that_of_the_file(
    name: str, scheme: Scheme, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    model = prepare(small(name))
    network = described(model)
    plan = data.draw(plans(network))
    grown, promised = widen(model, network, WideningRequest(plan, scheme, "split", 0))
    quantize(grown, promised, plan, scheme)
    path = tmp_path_factory.mktemp("cost") / "packed"
    returned = packed_file.save(path, grown, network, plan, scheme)
    assert returned == path.stat().st_size == manifest.size_bytes(network, plan, scheme)


@pytest.mark.parametrize("name", ["language", "gru", "packed", "odd"])
@settings(max_examples=10)
@given(data=st.data())
def test_the_header_does_not_depend_on_the_plan(name: str, data: st.DataObject) -> None:
    network = described(prepare(small(name)))
    float_plan = Plan.uniform(network.names, LayerChoice())
    header = manifest.breakdown(network, float_plan, Scheme()).header
    assert manifest.breakdown(network, data.draw(plans(network)), Scheme()).header == header


def test_what_the_bytes_of_a_file_are() -> None:
    network = described(prepare(small("odd")))
    plan = Plan.uniform(network.names, LayerChoice(4, 8))
    sizes = manifest.breakdown(network, plan, Scheme(), {"words": 1000})
    assert sizes.total == manifest.size_bytes(network, plan, Scheme(), {"words": 1000})
    assert sizes.layers == 8 + 2 * 5 + 2 * 5 + 8  # an input quantizer, scales, biases, 15 codes
    assert sizes.norms == 4 * 4 * 5
    assert sizes.uncovered == 3 + 3 * 2 + 2 * 2 + 7 + 8 + 5 * 4
    assert sizes.assets == 1000
    assert str(sizes) == (
        f"36 B layers, 80 B norms, 48 B uncovered tensors, 1 kB assets, {sizes.header} B header"
    )
    half = manifest.breakdown(network, plan, Scheme(norms="half"))
    assert (half.norms, half.layers, half.uncovered) == (2 * 2 * 5, 36, 48)


# --- a keyword spotter ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def spotter() -> tuple[int, Network]:
    """Bytes of its float tensors, and its network."""
    torch.manual_seed(0)
    model = Spotter().eval()
    floats = sum(tensor.nbytes for tensor in model.state_dict().values())
    return floats, described(prepare(model), spectra())


def test_a_keyword_spotter_is_small(spotter: tuple[int, Network]) -> None:
    """The targets are of one with 6,893 weights in 46,832 bytes."""
    floats, network = spotter
    weights = sum(layer.count for layer in network.layers)
    channels = sum(norm.units for norm in network.norms)
    assert (floats, weights, channels) == (45_928, 6_980, 1_118)
    plan = Plan.uniform(network.names, LayerChoice(4, 8))
    whole, half = (
        manifest.breakdown(network, plan, Scheme(norms=norms)) for norms in ("float", "half")
    )
    assert max(whole.header, half.header) < 1300
    assert whole.total / floats < 0.53
    assert half.total / floats < 0.24
    assert half.norms == whole.norms / 4 == 4 * channels


def test_files_of_a_spotter_have_their_sizes_and_reload(
    spotter: tuple[int, Network], tmp_path: Path
) -> None:
    """Widened and trained a little, in eval mode with norms as the file has them."""
    _, network = spotter
    scheme, plan = Scheme(norms="half"), Plan.uniform(network.names, LayerChoice(4, 8))
    for name in network.names:
        width = 1.0 if network.why_fixed(name) else 1.25
        plan = plan.with_choice(name, width=width)
    torch.manual_seed(0)
    source = Spotter().eval()
    task = RegressionTask(source, spectra())
    model = build_candidate(prepare(source), network, plan, scheme, task, method="split", seed=0)
    train(model.train(), task, Training(steps=2, lr=1e-3), seed=0)
    size = packed_file.save(tmp_path / "packed", model.eval(), network, plan, scheme)
    assert size == manifest.size_bytes(network, plan, scheme)
    loaded = packed_file.load(tmp_path / "packed", Spotter())
    with torch.no_grad():
        assert torch.equal(loaded(spectra()), model(spectra()))


def test_a_tiny_model_by_hand() -> None:
    """Linear 3 -> 4 at 3 bits: 12 codes take 5 bytes; 4 scales and 4 biases of 2 bytes each."""
    network = described(prepare(nn.Sequential(nn.Linear(3, 4))))
    plan = Plan({"0": LayerChoice(weight_bits=3, activation_bits=8)})
    entries = manifest.entries(network, plan, Scheme())
    assert entries == (
        Entry("0.input_quantizer", "F32", (2,)),
        Entry("0.weight.scale", "BF16", (4,)),
        Entry("0.bias", "F16", (4,)),
        Entry("0.weight.codes", "U8", (5,)),
    )
    assert [entry.bytes for entry in entries] == [8, 8, 8, 5]
    assert layer_bytes(network, plan, Scheme()) == {"0": 29}
    header = manifest.breakdown(network, plan, Scheme()).header
    assert header % 8 == 0
    assert manifest.size_bytes(network, plan, Scheme()) == header + 29


@pytest.mark.parametrize(
    ("changes", "by_hand"),
    [
        ({"weight_bits": 32, "activation_bits": 32}, 4 * (12 + 4)),
        ({"weight_bits": 16, "activation_bits": 16}, 2 * (12 + 4)),
        ({"weight_bits": 1, "activation_bits": 16}, 2 + 2 * 4 + 2 * 4),
        ({"weight_bits": 8, "activation_bits": 2}, 12 + 2 * 4 + 2 * 4 + 8),
    ],
    ids=["32", "16", "1", "8 with activations"],
)
def test_layer_bytes_by_hand(changes: dict[str, int], by_hand: int) -> None:
    network = described(prepare(nn.Linear(3, 4)))
    scheme = Scheme(bias_bits=32) if changes["weight_bits"] == 32 else Scheme()
    assert layer_bytes(network, Plan({"": LayerChoice(**changes)}), scheme) == {"": by_hand}


def test_widened_recurrent_layer_stores_where_its_units_come_from() -> None:
    network = described(prepare(toys.stack(hidden=6)))
    sources = {
        entry.name: entry
        for width in (1.0, 1.5)
        for plan in [plan_of(network, rnn__l0=width)]
        for entry in manifest.entries(network.resized(plan), plan, Scheme())
        if entry.name.endswith("unit_sources")
    }
    assert sources == {"rnn.l0.unit_sources": Entry("rnn.l0.unit_sources", "I16", (10,))}


# --- the paper's numbers (notes, section 2) -------------------------------------------------------


def test_treebank_parameters() -> None:
    network = treebank()
    assert network.parameters == 6_731_200
    assert network.resized(plan_of(network, rnn__l0=1.5)).parameters == 8_861_800


def test_treebank_embedding_and_lstm_grown_as_in_the_paper() -> None:
    network = treebank()
    both = network.resized(plan_of(network, embedding=1.5, rnn__l0=1.5))
    assert both.parameters == 10_631_800
    largest = plan_of(network, embedding=10 / 3, rnn__l0=10 / 3)
    assert network.resized(largest).parameters == 28_014_000


def test_entry_bytes() -> None:
    for short, width in dict(manifest.DTYPES.values()).items():
        assert Entry("x", short, (3, 2)).bytes == 6 * width
        assert manifest.TORCH_TYPES[short].itemsize == width
        assert math.prod(()) == Entry("x", short, ()).bytes // width
