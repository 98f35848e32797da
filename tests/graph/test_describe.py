"""Layouts and groups compared with the forward pass, and the reasons why layers are frozen."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from autoquant.analysis.profile import profile_model
from autoquant.errors import UserError
from autoquant.graph.describe import describe
from autoquant.graph.equivalence import check_same_function
from autoquant.graph.network import Network, Segment
from autoquant.graph.prepare import prepare
from autoquant.graph.widen import WideningRequest, widen
from autoquant.layers.stack import Recurrent
from autoquant.plan import LayerChoice, Plan
from autoquant.settings import Scheme, Widening
from autoquant.task import Example
from autoquant.tasks.language_model import LanguageModel
from tests import toys
from tests.toys import (
    deep_speech,
    described,
    language_model,
    output_of,
    plan_of,
    prepared,
    readers,
    stack,
)


def read(model: nn.Module) -> Network:
    return described(prepare(model))


def groups_read(network: Network, layer: str) -> list[str | None]:
    return [segment.group for segment in network.inputs[layer]]


class Two(nn.Module):
    """Two linear layers with a forward pass given from outside."""

    def __init__(self, forward: Any, **more: nn.Module) -> None:
        super().__init__()
        self.one = nn.Linear(6, 6)
        self.two = nn.Linear(6, 6)
        self.last = nn.Linear(6, 2)
        for name, module in more.items():
            self.add_module(name, module)
        self._run = forward

    def forward(self, values: Tensor) -> Any:
        return self._run(self, values)


# --- layouts --------------------------------------------------------------------------------------


def test_stacked_language_model() -> None:
    network = read(language_model(layers=3))
    assert network.names == ("embedding", "rnn.l0", "rnn.l1", "rnn.l2", "decoder")
    assert network.inputs["embedding"] == ()
    assert network.inputs["rnn.l0"] == (Segment("embedding", 6),)
    assert network.inputs["rnn.l1"] == (Segment("rnn.l0", 8),)
    assert network.inputs["decoder"] == (Segment("rnn.l2", 8),)
    assert readers(network, "embedding") == ("rnn.l0",)
    assert readers(network, "rnn.l2") == ("decoder",)
    assert readers(network, "decoder") == ()
    assert dict(network.groups) == {name: name for name in network.names}
    assert dict(network.frozen) == {"decoder": "feeds the model's output"}
    assert network.unquantized == ()


def test_deep_speech() -> None:
    network = read(deep_speech())
    assert network.names == ("fc1", "fc2", "fc3", "rnn.l0", "fc5", "fc6")
    assert network.inputs["fc1"] == (Segment(None, 10),)
    assert network.inputs["fc2"] == (Segment("fc1", 8),)
    assert network.inputs["rnn.l0"] == (Segment("fc3", 16),)
    assert network.inputs["fc5"] == (Segment("rnn.l0", 8), Segment("rnn.l0", 8))
    assert readers(network, "rnn.l0") == ("fc5",)
    assert dict(network.frozen) == {"fc6": "feeds the model's output"}
    lstm = network.layers[3]
    assert (lstm.kind, lstm.units, lstm.features, lstm.directions) == ("lstm", 8, 16, 2)


@pytest.mark.parametrize(
    ("cell", "options"), [("LSTM", {}), ("LSTM", {"proj_size": 3}), ("GRU", {}), ("RNN", {})]
)
def test_prepare_keeps_the_function_and_the_model(cell: str, options: dict[str, int]) -> None:
    torch.manual_seed(0)
    rnn = getattr(nn, cell)(4, 6, 2, bidirectional=True, **options)
    model = nn.Sequential(nn.Linear(5, 4), rnn)
    inputs = torch.randn(7, 3, 5)
    ready = prepare(model)
    assert isinstance(model[1], nn.RNNBase)
    assert isinstance(ready[1], Recurrent)
    # float32 rounding: one bias here is the sum of two there
    torch.testing.assert_close(
        output_of(ready, inputs), output_of(model, inputs), atol=1e-6, rtol=0
    )


def test_parameters_count_one_bias_a_gate() -> None:
    model = language_model(layers=2)
    twice = 2 * 4 * 8  # the second biases of two LSTM layers
    assert read(model).parameters == sum(p.numel() for p in model.parameters()) - twice


def test_gru_keeps_its_second_candidate_bias() -> None:
    model = nn.Sequential(nn.GRU(4, 6))
    assert read(model).parameters == sum(p.numel() for p in model.parameters()) - 2 * 6


# --- ties -----------------------------------------------------------------------------------------


def residual(model: Any, values: Tensor) -> Tensor:
    first = torch.relu(model.one(values))
    return model.last(first + model.two(first))


def test_addition_ties() -> None:
    network = read(Two(residual))
    assert dict(network.groups) == {"one": "one", "two": "one", "last": "last"}
    assert network.why_fixed("two") is None
    grown = network.resized(plan_of(network, one=1.5, two=1.5))
    assert [(layer.units, layer.features) for layer in grown.layers] == [(10, 6), (10, 10), (2, 10)]


def test_tied_layers_have_one_width() -> None:
    network = read(Two(residual))
    with pytest.raises(UserError, match=r"one width: one has 1\.5, two has 1\.0"):
        network.resized(plan_of(network, one=1.5))


def test_ties_are_transitive() -> None:
    def forward(model: Any, values: Tensor) -> Tensor:
        a, b, c = model.one(values), model.two(values), model.third(values)
        return model.last(torch.add(a, b) * torch.sigmoid(c))

    network = read(Two(forward, third=nn.Linear(6, 6)))
    assert [network.groups[name] for name in ("one", "two", "third")] == ["one"] * 3


def test_a_frozen_member_freezes_its_group() -> None:
    def forward(model: Any, values: Tensor) -> Tensor:
        first = model.one(values)
        return first + model.two(first)

    network = read(Two(forward))
    assert network.why_fixed("one") == network.why_fixed("two") == "feeds the model's output"


# --- what freezes ---------------------------------------------------------------------------------


def softmax(model: Any, values: Tensor) -> Tensor:
    return model.last(F.softmax(model.one(values), -1))


def view(model: Any, values: Tensor) -> Tensor:
    return model.last(model.one(values).view(-1, 6))


def matmul(model: Any, values: Tensor) -> Tensor:
    first = model.one(values)
    return model.last(first @ torch.ones(6, 6))


def concatenate(model: Any, values: Tensor) -> Tensor:
    return model.wide(torch.cat([model.one(values), values], -1))


def norm(model: Any, values: Tensor) -> Tensor:
    return model.last(model.norm(model.one(values)))


def last_step(model: Any, values: Tensor) -> Tensor:
    return model.last(model.one(values)[-1])


def skip_from_input(model: Any, values: Tensor) -> Tensor:
    return model.last(model.one(values) + values)


def gain(model: Any, values: Tensor) -> Tensor:
    return model.last(model.one(values) * model.norm.weight)


def after_stop(model: Any, values: Tensor) -> Tensor:
    return model.last(model.one(values) + torch.flip(values, (0,)))


def output_too(model: Any, values: Tensor) -> Any:
    first = model.one(values)
    return model.last(first), {"hidden": [first]}


def casts(model: Any, values: Tensor) -> Tensor:
    first = model.one(values).to(values.dtype)
    return model.last(first.type_as(values).contiguous())


def scaled(model: Any, values: Tensor) -> Tensor:
    return model.last(2.0 * model.one(values) / 3.0 - 1.0)


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        (softmax, r"is read across its units by 'softmax' \(test_describe.py:\d+\)"),
        (view, r"growing it fails \(test_describe.py:\d+\): .*shapes cannot be multiplied"),
        (matmul, r"is read across its units by 'mm' \(test_describe"),
        (concatenate, None),
        (norm, None),
        (last_step, None),
        (
            skip_from_input,
            r"is combined by 'add' \(test_desc.*\) with a value whose units cannot",
        ),
        (gain, r"is combined by 'mul' \(test_desc.*\) with a value whose units cannot grow"),
        (
            after_stop,
            r"is combined by 'add' \(test_desc.*\) with a value whose units cannot grow",
        ),
        (output_too, "feeds the model's output"),
        (casts, None),
        (scaled, None),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_reason(forward: Any, reason: str | None) -> None:
    network = read(Two(forward, norm=nn.LayerNorm(6), wide=nn.Linear(12, 2)))
    actual = network.why_fixed("one")
    assert actual is None if reason is None else re.match(reason, actual or "")
    assert network.why_fixed("two") == "is not called with the example's inputs"


def test_growing_a_frozen_layer_is_refused_with_the_reason() -> None:
    network = read(Two(view))
    with pytest.raises(UserError, match=r"width of one must be 1\.0 \(growing it fails.*got 2\.0"):
        network.resized(plan_of(network, one=2.0))


def test_a_branch_on_data_freezes_everything() -> None:
    def forward(model: Any, values: Tensor) -> Tensor:
        return model.last(model.one(values) if values.sum() > 0 else model.two(values))

    network = read(Two(forward))
    for name in network.names:
        assert re.match(r"the forward pass branches on data \(test_", network.why_fixed(name) or "")
    assert network.resized(plan_of(network)).layers == network.layers


def state_to_linear(model: Any, values: Tensor) -> Tensor:
    _, state = model.rnn(values)
    return model.last(state)


def state_index(model: Any, values: Tensor) -> Tensor:
    _, state = model.rnn(values)
    return model.last(state[-1])


def state_sum(model: Any, values: Tensor) -> Tensor:
    output, state = model.rnn(values)
    return model.last(output + state)


def state_out(model: Any, values: Tensor) -> Any:
    output, state = model.rnn(values)
    return model.last(output), state


def state_dropped(model: Any, values: Tensor) -> Any:
    return model.last(model.rnn(values)[0])


@pytest.mark.parametrize(
    "forward",
    [state_to_linear, state_index, state_sum, state_out, state_dropped],
    ids=lambda forward: forward.__name__,
)
def test_units_of_a_state_are_propagated(forward: Any) -> None:
    assert read(Two(forward, rnn=nn.GRU(6, 6))).why_fixed("rnn.l0") is None


def test_layers_whose_states_are_read_together_have_one_width() -> None:
    def forward(model: Any, values: Tensor) -> Tensor:
        return model.last(model.rnn(values)[1].mean(0))

    network = read(Two(forward, rnn=nn.GRU(6, 6, 2)))
    assert network.groups["rnn.l1"] == "rnn.l0"
    assert read(Two(state_out, rnn=nn.GRU(6, 6, 2))).groups["rnn.l1"] == "rnn.l1"


def test_lstm_state_parts_may_leave_one_by_one() -> None:
    def forward(model: Any, values: Tensor) -> Any:
        output, (hidden, memory) = model.rnn(values)
        return model.last(output), hidden, memory

    assert read(Two(forward, rnn=nn.LSTM(6, 6))).why_fixed("rnn.l0") is None


def test_units_of_both_parts_of_an_lstm_state_are_propagated() -> None:
    def forward(model: Any, values: Tensor) -> Any:
        _, (hidden, memory) = model.rnn(values)
        return model.last(hidden[-1] * torch.tanh(memory[-1]))

    network = read(Two(forward, rnn=nn.LSTM(6, 6)))
    assert network.why_fixed("rnn.l0") is None
    assert groups_read(network, "last") == ["rnn.l0"]


def state_set(model: Any, values: Tensor) -> Any:
    start = torch.tanh(model.one(values[:1]))
    return model.last(model.rnn(values, start)[0])


def test_a_layer_that_sets_an_initial_state_grows_with_the_recurrent_one() -> None:
    network = read(Two(state_set, rnn=nn.GRU(6, 6)))
    assert network.groups["rnn.l0"] == network.groups["one"] == "one"
    assert network.why_fixed("one") is None


# --- packed sequences -----------------------------------------------------------------------------

LENGTHS = torch.tensor([4, 2, 1])


def packs(model: Any, values: Tensor) -> Tensor:
    packed = nn.utils.rnn.pack_padded_sequence(model.one(values), LENGTHS)
    outputs, _ = model.rnn(packed)
    padded, lengths = nn.utils.rnn.pad_packed_sequence(outputs, padding_value=0.5)
    return model.last(padded), lengths


def packs_by_name(model: Any, values: Tensor) -> Tensor:
    packed = pack_padded_sequence(F.dropout(model.one(values), 0.25, model.training), LENGTHS)
    return model.last(torch.tanh(pad_packed_sequence(model.rnn(packed)[0])[0]))


def packs_by_keyword(model: Any, values: Tensor) -> Tensor:
    packed = pack_padded_sequence(lengths=LENGTHS, input=model.one(values))
    return model.last(pad_packed_sequence(model.rnn(packed)[0])[0])


def reads_packed_data(model: Any, values: Tensor) -> Tensor:
    packed = pack_padded_sequence(model.one(values), LENGTHS)
    return model.last(F.dropout(model.rnn(packed)[0].data, 0.25, model.training))


def packs_a_state(model: Any, values: Tensor) -> Tensor:
    _, state = model.rnn(values)
    return pack_padded_sequence(state, LENGTHS).data


@pytest.mark.parametrize(
    ("forward", "frozen"),
    [
        (packs, {"last": "feeds the model's output"}),
        (packs_by_name, {"last": "feeds the model's output"}),
        (packs_by_keyword, {"last": "feeds the model's output"}),
        (reads_packed_data, {"last": "feeds the model's output"}),
        (packs_a_state, {"rnn.l0": "feeds the model's output"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_units_go_through_packing(forward: Any, frozen: dict[str, str]) -> None:
    network = read(Two(forward, rnn=nn.GRU(6, 6)))
    assert network.frozen.items() >= frozen.items()
    if set(frozen) == {"last"}:
        assert network.why_fixed("one") is None
        assert network.why_fixed("rnn.l0") is None
        assert groups_read(network, "rnn.l0") == ["one"]
        assert groups_read(network, "last") == ["rnn.l0"]


def test_dropout_is_seen_through_packing() -> None:
    assert dict(read(Two(packs_by_name, rnn=nn.GRU(6, 6))).dropouts) == {"rnn.l0": 0.25}
    assert dict(read(Two(reads_packed_data, rnn=nn.GRU(6, 6))).dropouts) == {"last": 0.25}


def test_words_may_be_packed_before_they_are_looked_up() -> None:
    model, network = prepared(toys.tagger(packs_first=True))
    assert dict(network.frozen) == {"tag": "feeds the model's output"}
    example = Example((toys.sentences(),), 1, "batch")
    profile = profile_model(model, network, example, Widening())
    assert profile["rnn.l0"].macs == network.layers[1].macs() * 17  # words, without padding


# --- dropout right before a layer -----------------------------------------------------------------


def test_dropout_of_a_stack() -> None:
    """Before the first layer the module's, between layers the stack's own."""
    torch.manual_seed(0)
    network = read(LanguageModel(9, 4, 4, layers=3, dropout=0.4))
    assert dict(network.dropouts) == {
        "rnn.l0": 0.4,
        "rnn.l1": 0.4,
        "rnn.l2": 0.4,
        "decoder": 0.4,
    }
    assert dict(read(LanguageModel(9, 4, 4, dropout=0.0)).dropouts) == {}


def dropped(model: Any, values: Tensor) -> Tensor:
    return model.last(F.dropout(model.one(F.dropout(values)), p=0.25))


def dropped_before_an_activation(model: Any, values: Tensor) -> Tensor:
    return model.last(torch.relu(F.dropout(model.one(values), 0.25)))


def dropped_first(model: Any, values: Tensor) -> Tensor:
    return model.last(model.one(F.dropout(values, 0.25)) + model.one(values))


def dropped_second(model: Any, values: Tensor) -> Tensor:
    return model.last(model.one(values) + model.one(F.dropout(values, 0.25)))


def dropped_differently(model: Any, values: Tensor) -> Tensor:
    return model.last(model.one(F.dropout(values, 0.5)) + model.one(F.dropout(values, 0.25)))


def dropped_twice_alike(model: Any, values: Tensor) -> Tensor:
    return model.last(model.one(F.dropout(values, 0.25)) + model.one(F.dropout(values, 0.25)))


@pytest.mark.parametrize(
    ("forward", "expected"),
    [
        (dropped, {"one": 0.5, "last": 0.25}),
        (dropped_before_an_activation, {}),
        (dropped_first, {}),
        (dropped_second, {}),
        (dropped_differently, {}),
        (dropped_twice_alike, {"one": 0.25}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_dropouts(forward: Any, expected: dict[str, float]) -> None:
    assert dict(read(Two(forward)).dropouts) == expected


# --- unquantized tensors, shared weights, modules -------------------------------------------------


class WithUnquantized(nn.Module):
    """One parameter and one buffer that belong to no known layer."""

    lead = (3,)  # axes before the last of its example inputs

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 6)
        self.norm = nn.BatchNorm1d(6)
        self.gain = nn.Parameter(torch.ones(6))
        self.last = nn.Linear(6, 2)

    def forward(self, values: Tensor) -> Tensor:
        return self.last(self.norm(self.fc(values)) * self.gain)


def test_unquantized_tensors_are_counted() -> None:
    network = read(WithUnquantized())
    shapes = {tensor.name: (tensor.dtype, tensor.shape) for tensor in network.unquantized}
    assert shapes == {
        "gain": ("float32", (6,)),
        "norm.num_batches_tracked": ("int64", ()),
    }
    assert network.parameters == (4 * 6 + 6) + (6 * 2 + 2) + 5 * 6 + 1
    assert [norm.name for norm in network.norms] == ["norm"]
    assert "is combined by 'mul'" in (network.why_fixed("fc") or "")


def test_a_shared_weight_counts_once_and_does_not_grow() -> None:
    model = language_model(embedding=8, layers=1)
    model.decoder.weight = model.embedding.weight
    network = read(model)
    assert network.shares == {"decoder": "embedding"}
    assert network.parameters == read(language_model(embedding=8, layers=1)).parameters - 15 * 8
    assert network.why_fixed("embedding") == "decoder.weight is the weight of embedding too"
    plan = plan_of(network).with_choice("decoder", weight_bits=4)
    with pytest.raises(UserError, match="must have one weight_bits: embedding has 32"):
        network.resized(plan)


def test_a_module_under_two_names_is_one_layer() -> None:
    layer = nn.Linear(4, 4)
    network = read(nn.Sequential(layer, nn.ReLU(), layer))
    assert network.names == ("0",)
    assert network.unquantized == ()


def test_a_model_without_known_layers_is_refused() -> None:
    with pytest.raises(UserError, match="at least one layer that autoquant knows"):
        describe(nn.Sequential(nn.Tanh(), nn.ReLU()), None)


def test_nothing_grows_without_an_example() -> None:
    network = describe(prepare(language_model(layers=1)), None)
    assert set(network.frozen.values()) == {"no example inputs were given"}


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, nn.RNN])
def test_bare_recurrent_model(cell: type[nn.RNNBase]) -> None:
    network = read(cell(3, 4, num_layers=2))
    assert network.names == ("l0", "l1")
    assert set(network.frozen.values()) == {"feeds the model's output"}
    assert network.unquantized == ()


def test_bare_linear_model() -> None:
    network = read(nn.Linear(3, 4))
    assert network.names == ("",)
    assert network.parameters == 16
    assert network.unquantized == ()


def test_units_of_a_projected_lstm_are_those_of_the_projection() -> None:
    model = stack(layers=2, bidirectional=True, hidden=6, projection=3)
    network = read(model)
    assert network.names == ("front", "rnn.l0", "rnn.l1", "back")
    assert network.inputs["rnn.l1"] == (Segment("rnn.l0", 3),) * 2
    assert network.inputs["back"] == (Segment("rnn.l1", 3),) * 2
    assert network.unquantized == ()
    assert dict(network.frozen) == {"back": "feeds the model's output"}
    twice = 2 * 2 * 4 * 6  # the second biases
    assert network.parameters == sum(p.numel() for p in model.parameters()) - twice
    grown = network.resized(plan_of(network, rnn__l0=2.4))
    assert [layer.units for layer in grown.layers] == [4, 7, 3, 3]
    shapes = {p.name: p.shape for p in grown.layers[1].parameters if "reverse" not in p.name}
    assert shapes == {
        "weight_ih": (24, 4),
        "weight_hh": (24, 7),
        "bias": (24,),
        "weight_hr": (7, 6),
    }


def twice_same(model: Any, values: Tensor) -> Tensor:
    first = model.one(values)
    return model.last(model.two(first) + torch.tanh(model.two(first)))


def twice_other(model: Any, values: Tensor) -> Tensor:
    first = model.one(values)
    return model.last(model.two(torch.relu(model.two(first))))


def test_layer_called_twice_on_the_same_units_may_grow() -> None:
    network = read(Two(twice_same))
    assert network.why_fixed("one") is None
    assert network.why_fixed("two") is None
    assert groups_read(network, "two") == ["one"]


def test_layers_whose_units_one_layer_reads_in_turn_are_tied() -> None:
    network = read(Two(twice_other))
    assert network.groups["two"] == "one"
    assert network.why_fixed("one") is None


# --- what is not frozen grows ---------------------------------------------------------------------

FORWARDS = [
    *(residual, softmax, view, norm, last_step, skip_from_input, gain, after_stop, output_too),
    *(casts, scaled, concatenate, twice_same, twice_other),
    *(state_to_linear, state_index, state_sum, state_out, state_dropped, state_set),
    *(packs, packs_by_name, packs_by_keyword, reads_packed_data),
]


@pytest.mark.parametrize("forward", FORWARDS, ids=lambda forward: forward.__name__)
@pytest.mark.parametrize("method", ["split", "fresh"])
def test_whatever_may_grow_grows_without_changing_the_model(forward: Any, method: Any) -> None:
    """Every group that is not frozen is grown: the model must still run, and compute the same."""
    torch.manual_seed(0)
    more = {"norm": nn.LayerNorm(6), "wide": nn.Linear(12, 2), "rnn": nn.GRU(6, 6)}
    model, network = prepared(Two(forward, **more))
    plan = Plan(
        {name: LayerChoice(width=1.0 if network.why_fixed(name) else 1.5) for name in network.names}
    )
    grown, _ = widen(model, network, WideningRequest(plan, Scheme(), method, seed=0))
    assert check_same_function(model, grown, (torch.randn(4, 3, 6),)) < 1e-5
