"""Sizes against the files that are written, operations against counts by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save as to_bytes
from torch import nn

from autoquant import cost
from autoquant.artifact import packed_file
from autoquant.cost import Entry
from autoquant.graph.network import Leftover, Network
from autoquant.graph.prepare import prepare
from autoquant.graph.widen import widen
from autoquant.plan import ACTIVATION_BITS, WEIGHT_BITS, LayerChoice, Plan
from autoquant.settings import Scheme
from autoquant.training.qat import quantize
from tests import toys
from tests.toys import described, plan_of

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
    grown, promised = widen(model, network, plan, scheme, "split", 0)
    quantize(grown, promised, plan, scheme)
    path = tmp_path_factory.mktemp("cost") / "packed"
    returned = packed_file.save(path, grown, network, plan, scheme)
    assert returned == path.stat().st_size == cost.size_bytes(network, plan, scheme)


_NAMES = {short: name for name, (short, _) in cost.DTYPES.items()}
_TYPES = {short: getattr(torch, name) for short, name in _NAMES.items()}


@settings(max_examples=100)
@given(
    tensors=st.dictionaries(
        st.text(min_size=1, max_size=12).filter(lambda name: name != "__metadata__"),
        st.tuples(
            st.sampled_from(list(_TYPES)),
            st.lists(st.integers(0, 12), max_size=3).map(tuple),
        ),
        max_size=6,
    ),
    note=st.text(max_size=30),
)
def test_header_is_what_safetensors_writes(
    tensors: dict[str, tuple[str, tuple[int, ...]]], note: str
) -> None:
    """Any names, types and shapes: order, offsets, escapes and padding are the library's."""
    real = {name: torch.zeros(shape, dtype=_TYPES[kind]) for name, (kind, shape) in tensors.items()}
    meta = {cost.METADATA_KEY: json.dumps(note)}
    data = to_bytes(real, metadata=meta)
    leftovers = tuple(
        Leftover(name, _NAMES[kind], shape) for name, (kind, shape) in tensors.items()
    )
    network = replace(described(prepare(nn.Linear(1, 1))), layers=(), leftovers=leftovers)
    entries = cost.manifest(network, Plan({}), Scheme())
    body = sum(entry.bytes for entry in entries)
    assert cost.header_bytes(entries, meta) + body == len(data)
    written = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    del written["__metadata__"]
    assert list(written) == [entry.name for entry in entries]


def test_a_tiny_model_by_hand() -> None:
    """Linear 3 -> 4 at 3 bits: 12 codes take 5 bytes; 4 scales and 4 biases of 2 bytes each."""
    network = described(prepare(nn.Sequential(nn.Linear(3, 4))))
    plan = Plan({"0": LayerChoice(weight_bits=3, activation_bits=8)})
    entries = cost.manifest(network, plan, Scheme())
    assert entries == (
        Entry("0.input_quantizer", "F32", (2,)),
        Entry("0.weight.scale", "BF16", (4,)),
        Entry("0.bias", "F16", (4,)),
        Entry("0.weight.codes", "U8", (5,)),
    )
    assert [entry.bytes for entry in entries] == [8, 8, 8, 5]
    assert cost.layer_bytes(network, plan, Scheme()) == {"0": 29}
    meta = cost.metadata(network, plan, Scheme(), {entry.name: cost.CHECKSUM for entry in entries})
    header = cost.header_bytes(entries, meta)
    assert header % 8 == 0
    assert cost.size_bytes(network, plan, Scheme()) == header + 29


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
    assert cost.layer_bytes(network, Plan({"": LayerChoice(**changes)}), scheme) == {"": by_hand}


def test_layer_bytes_leave_out_only_header_and_leftovers() -> None:
    network = described(prepare(small("odd")))
    plan = plan_of(network, LayerChoice(3, 8))
    entries = cost.manifest(network, plan, Scheme())
    left = {each.name for each in network.leftovers}
    left |= {f"norm.{parameter.name}" for parameter in network.norms[0].parameters}
    of_layers = sum(cost.layer_bytes(network, plan, Scheme()).values())
    assert of_layers == sum(entry.bytes for entry in entries if entry.name not in left)


def test_widened_recurrent_layer_stores_where_its_units_come_from() -> None:
    network = described(prepare(toys.stack(hidden=6)))
    sources = {
        entry.name: entry
        for width in (1.0, 1.5)
        for plan in [plan_of(network, rnn__l0=width)]
        for entry in cost.manifest(network.resized(plan), plan, Scheme())
        if entry.name.endswith("unit_sources")
    }
    assert sources == {"rnn.l0.unit_sources": Entry("rnn.l0.unit_sources", "I16", (10,))}


# --- the paper's numbers (notes, section 2) -------------------------------------------------------


def treebank(hidden: int = 300) -> Network:
    with torch.device("meta"):
        return described(prepare(toys.LanguageModel(10_000, 300, hidden)))


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


@pytest.mark.parametrize(("width", "share"), [(1.0, 0.125), (1.5, 0.1875)])
def test_neuron_share_is_the_papers(width: float, share: float) -> None:
    """4 bits are 12.5%, and 18.75% with half as many neurons again, whatever the layers."""
    network = treebank()
    plan = Plan.uniform(network.names, LayerChoice(weight_bits=4, width=width))
    assert cost.neuron_share(network, plan) == pytest.approx(share, rel=1e-12)


def test_neuron_share_weighs_by_parameters() -> None:
    """Deep Speech with 4-bit layers 1, 2 and 5, grown by half: sums of the table's shares."""
    with torch.device("meta"):
        model = prepare(toys.DeepSpeech(494, 2048, 4096, 29))
    network = described(model)
    assert network.parameters == 122_732_573
    plan = plan_of(network)
    for name in ("fc1", "fc2", "fc5"):
        plan = plan.with_choice(name, weight_bits=4, width=1.5)
    grown = 1_013_760 + 4_196_352 + 8_390_656
    by_hand = (network.parameters - grown * (1 - 4 / 32 * 1.5)) / network.parameters
    assert cost.neuron_share(network, plan) == pytest.approx(by_hand, rel=1e-12)


# --- operations and activations, by hand ----------------------------------------------------------


def of(model: nn.Module, **choice: Any) -> tuple[Network, Plan]:
    network = described(prepare(model))
    return network, plan_of(network, LayerChoice(**choice))


def test_linear_by_hand() -> None:
    network, plan = of(nn.Linear(3, 4), weight_bits=2, activation_bits=8)
    assert cost.macs(network, plan) == 12
    assert cost.bit_ops(network, plan) == 12 * 2 * 8
    assert cost.activation_bytes(network, plan) == 3 * 8 / 8


def test_three_levels_by_hand() -> None:
    """13 x 7 = 91 codes take 19 bytes; operations are a whole number."""
    network, plan = of(nn.Linear(7, 13), weight_bits=1.6, activation_bits=8)
    assert cost.bit_ops(network, plan) == round(91 * 1.6 * 8)
    assert isinstance(cost.bit_ops(network, plan), int)
    # codes; scales and biases, 2 bytes each; the input's quantizer
    assert cost.layer_bytes(network, plan, Scheme()) == {"": 19 + 13 * 2 + 13 * 2 + 8}


def test_step_sizes_of_8_bits_by_hand() -> None:
    """A byte for each row and one more; a bias has one step size, in bfloat16."""
    network, plan = of(nn.Linear(7, 13), weight_bits=4, activation_bits=8)
    scheme = Scheme(scale_bits=8, bias_bits=8)
    assert cost.layer_bytes(network, plan, scheme) == {"": 46 + (1 + 13) + (13 + 2) + 8}
    single, plan = of(nn.Linear(7, 1, bias=False), weight_bits=4, activation_bits=8)
    assert cost.layer_bytes(single, plan, scheme) == {"": 4 + 2 + 8}


@pytest.mark.parametrize("directions", [1, 2])
def test_lstm_by_hand(directions: int) -> None:
    """Input 3, hidden 5, four gates."""
    network, plan = of(
        nn.LSTM(3, 5, bidirectional=directions == 2),
        weight_bits=2,
        recurrent_bits=3,
        activation_bits=8,
        hidden_bits=6,
    )
    ih, hh = 4 * 5 * 3, 4 * 5 * 5
    assert cost.macs(network, plan) == directions * (ih + hh)
    assert cost.bit_ops(network, plan) == directions * (ih * 2 * 8 + hh * 3 * 6)
    # both directions read the one input; each reads its own hidden state
    assert cost.activation_bytes(network, plan) == (3 * 8 + directions * 5 * 6) / 8


@pytest.mark.parametrize("directions", [1, 2])
def test_projected_lstm_by_hand(directions: int) -> None:
    """Input 3, 5 cells, projected to 2: the projection reads cells, which are not quantized."""
    network, plan = of(
        nn.LSTM(3, 5, proj_size=2, bidirectional=directions == 2),
        weight_bits=2,
        recurrent_bits=3,
        activation_bits=8,
        hidden_bits=6,
    )
    ih, hh, hr = 4 * 5 * 3, 4 * 5 * 2, 2 * 5
    assert cost.macs(network, plan) == directions * (ih + hh + hr)
    bit_ops = ih * 2 * 8 + hh * 3 * 6 + hr * 3 * 32
    assert cost.bit_ops(network, plan) == directions * bit_ops
    assert cost.activation_bytes(network, plan) == (3 * 8 + directions * 2 * 6) / 8
    # each row of a weight has a scale of 2 bytes; biases are 2 bytes each
    packed = sum(math.ceil(count * bits / 8) for count, bits in ((ih, 2), (hh, 3), (hr, 3)))
    rows = packed + 2 * (20 + 20 + 2) + 2 * 20
    quantizers = 2 * 8
    by_layer = cost.layer_bytes(network, plan, Scheme())
    assert by_layer == {"l0": directions * rows + quantizers}


def test_stack_by_hand() -> None:
    """Embedding 15 x 6 -> LSTM 6 -> 8 -> decoder 8 -> 15; the lookup multiplies nothing."""
    network, plan = of(toys.language_model(layers=1), weight_bits=4, activation_bits=8)
    lstm, decoder = 4 * 8 * (6 + 8), 8 * 15
    assert cost.macs(network, plan) == lstm + decoder
    assert cost.bit_ops(network, plan) == (lstm + decoder) * 4 * 8
    assert cost.activation_bytes(network, plan) == 6 + 8 + 8


def test_growth_counts_in_operations() -> None:
    network = described(prepare(toys.language_model(layers=1)))
    plan = plan_of(network, LayerChoice(4, 8), rnn__l0=1.5)  # 8 -> 12 units
    assert cost.macs(network, plan) == 4 * 12 * (6 + 12) + 12 * 15
    assert cost.activation_bytes(network, plan) == 6 + 12 + 12


def test_entry_bytes() -> None:
    for short, width in dict(cost.DTYPES.values()).items():
        assert Entry("x", short, (3, 2)).bytes == 6 * width
        assert torch.zeros(1, dtype=_TYPES[short]).element_size() == width
        assert math.prod(()) == Entry("x", short, ()).bytes // width
