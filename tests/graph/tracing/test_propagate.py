"""One small model for each operation: its groups and layouts, or the reason and the user's line."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from autoquant.graph.describe import describe
from autoquant.graph.equivalence import check_same_function
from autoquant.graph.network import Network, Segment
from autoquant.graph.prepare import prepare
from autoquant.graph.widen import WideningRequest, widen
from autoquant.plan import LayerChoice, Plan
from autoquant.settings import Scheme
from tests.graph.tracing.lines import here

Forward = Callable[[Any, Tensor], Any]
OUT = "feeds the model's output"


class Small(nn.Module):
    """Layers by name, and a forward pass given from outside."""

    def __init__(self, forward: Forward, **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self._run = forward

    def forward(self, *values: Tensor) -> Any:
        return self._run(self, *values)


def linear(features: int, units: int) -> nn.Module:
    return nn.Linear(features, units)


def network_of(forward: Forward, *inputs: Tensor, **layers: nn.Module) -> Network:
    """The network; groups that are not frozen grow without changing the function."""
    torch.manual_seed(0)
    model = prepare(Small(forward, **layers)).eval()
    network = describe(model, inputs or (torch.randn(2, 5, 4),))
    free = {group for group in network.groups.values() if group not in network.frozen}
    plan = Plan(
        {
            name: LayerChoice(width=2.0 if network.groups[name] in free else 1.0)
            for name in network.names
        }
    )
    if free:
        grown, _ = widen(model, network, WideningRequest(plan, Scheme(), "split", 0))
        check_same_function(model, grown, inputs or (torch.randn(2, 5, 4),))
    return network


def owner(group: str | None, size: int, run: int = 1, part: int = 0) -> Segment:
    return Segment(group, size, run, part)


# --- entries that only move -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["output", "read", "dropout", "result"])
def test_a_layer_may_have_any_name(name: str) -> None:
    """The record marks outputs, dropout and values that Python reads; a layer is none of these."""
    network = network_of(
        lambda m, x: m.get_submodule(name)(m.first(x).relu()),
        **{"first": linear(4, 8), name: linear(8, 3)},
    )
    assert network.frozen == {network.groups[name]: OUT}


def test_slices_are_parts_of_one_group() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.one(x)
        third = y.shape[-1] // 3
        return m.a(y[..., :third]) + m.b(y[..., third:])

    network = network_of(forward, one=linear(4, 6), a=linear(2, 3), b=linear(4, 3))
    assert network.outputs["one"] == (owner("one", 2), owner("one", 4, part=1))
    assert network.inputs["a"] == (owner("one", 2),)
    assert network.inputs["b"] == (owner("one", 4, part=1),)
    assert dict(network.frozen) == {"a": OUT}
    assert network.groups["b"] == "a"


def by_split(y: Tensor) -> Any:
    return y.split(3, -1)


def by_sizes(y: Tensor) -> Any:
    return torch.split(y, [3, 3], dim=2)


def by_chunk(y: Tensor) -> Any:
    return y.chunk(2, 2)


def by_slices(y: Tensor) -> Any:
    half = y.shape[-1] // 2
    return y[:, :, :half], y[:, :, half:]


def by_constant(y: Tensor) -> Any:
    return y[..., :3], y[..., 3:]


@pytest.mark.parametrize("cut", [by_chunk, by_slices], ids=lambda cut: cut.__name__)
def test_halves_that_meet_are_the_same_units(cut: Callable[[Tensor], Any]) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        a, b = cut(m.one(x))
        return m.last(a * torch.sigmoid(b))

    network = network_of(forward, one=linear(4, 6), last=linear(3, 2))
    assert network.outputs["one"] == (owner("one", 3), owner("one", 3))
    assert network.inputs["last"] == (owner("one", 3),)
    assert dict(network.frozen) == {"last": OUT}


@pytest.mark.parametrize("cut", [by_split, by_sizes, by_constant], ids=lambda cut: cut.__name__)
def test_sizes_in_the_code_are_found_by_growing(cut: Callable[[Tensor], Any]) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        a, b = cut(m.one(x))
        return m.last(a * torch.sigmoid(b))

    reason = network_of(forward, one=linear(4, 6), last=linear(3, 2)).why_fixed("one")
    assert reason is not None
    assert reason.startswith("growing it fails (test_propagate.py:")


def test_cat_concatenates_groups() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return m.last(torch.cat([m.one(x), x, torch.relu(m.two(x))], -1))

    network = network_of(forward, one=linear(4, 3), two=linear(4, 5), last=linear(12, 2))
    assert network.inputs["last"] == (owner("one", 3), owner(None, 4), owner("two", 5))
    assert dict(network.frozen) == {"last": OUT}


def test_stack_ties() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return m.last(torch.stack([m.one(x), m.two(x)], 1).mean(1))

    network = network_of(forward, one=linear(4, 6), two=linear(4, 6), last=linear(6, 2))
    assert dict(network.groups) == {"one": "one", "two": "one", "last": "last"}
    assert dict(network.frozen) == {"last": OUT}


def test_flatten_gives_each_channel_its_pixels() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return m.last(F.max_pool2d(m.conv(x), 2).flatten(1))

    image = torch.randn(2, 3, 4, 4)
    network = network_of(forward, image, conv=nn.Conv2d(3, 5, 3, padding=1), last=linear(20, 2))
    assert network.inputs["last"] == (owner("conv", 5, run=4),)
    assert dict(network.frozen) == {"last": OUT}


def index_steps(m: Any, x: Tensor) -> Tensor:
    return m.last(m.one(x)[:, torch.tensor([0, 2])])


def index_mask(m: Any, x: Tensor) -> Tensor:
    return m.last(m.one(x)[torch.tensor([True, False])])


def select_step(m: Any, x: Tensor) -> Tensor:
    return m.last(m.one(x)[:, -1])


def gather_steps(m: Any, x: Tensor) -> Tensor:
    y = m.one(x)
    return m.last(y.gather(1, torch.zeros(2, 1, 1, dtype=torch.long).expand(-1, -1, y.shape[-1])))


def pad_steps(m: Any, x: Tensor) -> Tensor:
    return m.last(F.pad(m.one(x), (0, 0, 1, 2)))


def pool_steps(m: Any, x: Tensor) -> Tensor:
    return m.last(F.avg_pool1d(m.one(x).transpose(1, 2), 2).transpose(1, 2))


def interpolated(m: Any, x: Tensor) -> Tensor:
    y = m.one(x).transpose(1, 2)
    return m.last(F.interpolate(y, scale_factor=2, mode="linear").transpose(1, 2))


def softmax_over_steps(m: Any, x: Tensor) -> Tensor:
    return m.last(torch.softmax(m.one(x), 1))


def mean_of_steps(m: Any, x: Tensor) -> Tensor:
    return m.last(m.one(x).mean(1))


def largest_step(m: Any, x: Tensor) -> Tensor:
    return m.last(m.one(x).max(1)[0])


def flipped_steps(m: Any, x: Tensor) -> Tensor:
    return m.last(m.one(x).flip(1))


def unfolded_steps(m: Any, x: Tensor) -> Tensor:
    return m.last(m.one(x).unfold(1, 2, 1).mean(-1))


def repeated_steps(m: Any, x: Tensor) -> Tensor:
    return m.last(m.one(x).repeat(1, 2, 1))


def written(m: Any, x: Tensor) -> Tensor:
    y = m.one(x)
    out = torch.zeros_like(y)
    for step in range(y.shape[1]):
        out[:, step] = torch.tanh(y[:, step])
    return m.last(out)


def new_buffer(m: Any, x: Tensor) -> Tensor:
    y = m.one(x)
    out = y.new_zeros(2, 7, y.shape[-1])
    out[:, 1:6] = y
    return m.last(out)


def weighed_by_steps(m: Any, x: Tensor) -> Tensor:
    return m.last(torch.einsum("btc,ts->bsc", m.one(x), torch.ones(5, 5)))


def scaled(m: Any, x: Tensor) -> Tensor:
    return m.last(2.0 * m.one(x).clamp(min=0).to(torch.float64).float() - x.mean())


def masked(m: Any, x: Tensor) -> Tensor:
    return m.last(m.one(x).masked_fill(x[..., :1] > 0, 0.0))


def chosen(m: Any, x: Tensor) -> Tensor:
    return m.last(torch.where(x[..., :1] > 0, m.one(x), torch.zeros(())))


FREE = (
    *(index_steps, index_mask, select_step, gather_steps, pad_steps, pool_steps, interpolated),
    *(softmax_over_steps, mean_of_steps, largest_step, flipped_steps, unfolded_steps),
    *(repeated_steps, written, new_buffer, weighed_by_steps, scaled, masked, chosen),
)


@pytest.mark.parametrize("forward", FREE, ids=lambda each: each.__name__)
def test_operations_that_units_go_through(forward: Forward) -> None:
    network = network_of(forward, one=linear(4, 6), last=linear(6, 2))
    assert dict(network.frozen) == {"last": OUT}
    assert network.inputs["last"] == (owner("one", 6),)


# --- what reads several units together ------------------------------------------------------------


def softmax(m: Any, x: Tensor) -> Tensor:
    return m.last(torch.softmax(m.one(x), -1))  # here


def layer_norm(m: Any, x: Tensor) -> Tensor:
    y = m.one(x)
    return m.last(F.layer_norm(y, (6,)))  # here


def mean(m: Any, x: Tensor) -> Tensor:
    return m.last(m.one(x) - m.one(x).mean(-1, keepdim=True))  # here


def matmul(m: Any, x: Tensor) -> Tensor:
    return m.last(m.one(x) @ torch.ones(6, 6))  # here


def scores(m: Any, x: Tensor) -> Tensor:
    y = m.one(x)
    return m.last(torch.einsum("btc,bsc->bts", y, y) @ m.two(x))  # here


def index_units(m: Any, x: Tensor) -> Tensor:
    return m.last(m.one(x)[..., torch.arange(6)])  # here


def gather_units(m: Any, x: Tensor) -> Tensor:
    places = torch.arange(6).expand(2, 5, 6)
    return m.last(m.one(x).gather(-1, places))  # here


def flip_units(m: Any, x: Tensor) -> Tensor:
    return m.last(m.one(x).flip(-1))  # here


def pad_units(m: Any, x: Tensor) -> Tensor:
    return m.wide(F.pad(m.one(x), (1, 1)))  # here


def sorted_units(m: Any, x: Tensor) -> Tensor:
    return m.last(m.one(x).sort(-1)[0])  # here


def unknown(m: Any, x: Tensor) -> Tensor:
    return m.last(torch.bucketize(m.one(x), torch.zeros(1)).float())  # here


def added_parameter(m: Any, x: Tensor) -> Tensor:
    return m.last(m.one(x) + torch.arange(6.0))  # here


def added_input(m: Any, x: Tensor) -> Tensor:
    return m.last(m.one(x) + torch.cat([x, x], -1)[..., :6])  # here


ACROSS = {
    softmax: "is read across its units by 'softmax' {}",
    layer_norm: "is normalised across its units by 'native_layer_norm' {}",
    mean: "is read across its units by 'mean' {}",
    matmul: "is read across its units by 'mm' {}",
    scores: "is read across its units by 'bmm' {}",
    index_units: "is read by 'index' {}, which is not followed",
    gather_units: "is read by 'gather' {}, which is not followed",
    flip_units: "is read by 'flip' {}, which is not followed",
    pad_units: "is read by 'constant_pad_nd' {}, which is not followed",
    sorted_units: "is read across its units by 'sort' {}",
    unknown: "is read by 'bucketize' {}, which is not followed",
    added_parameter: "is combined by 'add' {} with a value whose units cannot grow",
    added_input: "is combined by 'add' {} with a value whose units cannot grow",
}


@pytest.mark.parametrize(("forward", "reason"), ACROSS.items(), ids=[f.__name__ for f in ACROSS])
def test_operations_that_stop_units_name_the_line(forward: Forward, reason: str) -> None:
    layers = {"one": linear(4, 6), "two": linear(4, 6), "last": linear(6, 2)}
    network = network_of(forward, wide=linear(8, 2), **layers)
    assert network.why_fixed("one") == reason.format(here(forward))


def test_what_is_not_called_cannot_grow() -> None:
    network = network_of(lambda m, x: m.one(x), one=linear(4, 6), two=linear(4, 6))
    assert network.why_fixed("two") == "is not called with the example's inputs"


def weight_of_another(m: Any, x: Tensor) -> Tensor:
    return m.last(m.one(x) @ m.two.weight.data)  # here


def tied_product(m: Any, x: Tensor) -> Tensor:
    return F.linear(m.one(x), m.two.weight)  # here


@pytest.mark.parametrize("forward", [weight_of_another, tied_product])
def test_a_layer_that_only_holds_a_weight_names_the_line(forward: Forward) -> None:
    layers = {"one": linear(4, 6), "two": linear(6, 6), "last": linear(6, 2)}
    network = network_of(forward, **layers)
    read = f"by 'mm' {here(forward)}"
    assert network.why_fixed("two") == f"is not called: its weight is read {read}"
    assert network.why_fixed("one") == f"is read across its units {read}"


def test_a_result_that_nobody_reads_is_not_called_uncalled() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        m.two(x)
        return m.one(x)

    network = network_of(forward, one=linear(4, 6), two=linear(4, 6))
    assert network.why_fixed("two") == "is called, but no output depends on it"


class Tied(nn.Module):
    """An encoder and a decoder whose embeddings hold the weight of one that is never called.

    A branch on the words would freeze all layers, were there one that other words might call.
    """

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Embedding(9, 6)
        self.encoder, self.decoder = nn.Embedding(9, 6), nn.Embedding(9, 6)
        self.encoder.weight = self.decoder.weight = self.shared.weight
        self.one, self.two, self.last = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(8, 2)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        if bool((source == 0).all()):
            return self.last.weight
        context = torch.relu(self.one(self.encoder(source))).mean(1, keepdim=True)
        return self.last(torch.relu(self.two(self.decoder(target))) + context)


def test_a_layer_that_holds_a_tied_weight_freezes_only_those_that_share_it() -> None:
    torch.manual_seed(0)
    words = torch.randint(1, 9, (2, 5))
    network = describe(prepare(Tied()).eval(), (words, words))
    assert {name for name in network.names if network.why_fixed(name) is None} == {"one", "two"}
    for name in ("shared", "encoder", "decoder"):
        assert "is the weight of shared too" in str(network.why_fixed(name))


def test_a_layer_that_other_words_might_call_still_freezes_all() -> None:
    class Untied(Tied):
        def __init__(self) -> None:
            super().__init__()
            self.shared = nn.Embedding(9, 6)

    words = torch.ones(2, 5, dtype=torch.long)
    network = describe(prepare(Untied()).eval(), (words, words))
    assert str(network.why_fixed("one")).startswith("the forward pass branches on data")


# --- what no operation shows ----------------------------------------------------------------------


def test_data_that_is_set_is_followed() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.one(x)
        z = torch.zeros_like(y)
        z.data = m.two(y.data)
        return m.last(z)

    layers = {"one": linear(4, 6), "two": linear(6, 6), "last": linear(6, 2)}
    network = network_of(forward, **layers)
    assert dict(network.frozen) == {"last": OUT}
    assert network.inputs["two"] == (owner("one", 6),)


def as_array(m: Any, x: Tensor) -> Tensor:
    return m.last(torch.tensor(np.asarray(m.one(x))))  # here


def equal_tensors(m: Any, x: Tensor) -> Tensor:
    return m.last(m.one(x)) if not torch.equal(m.one(x), x) else x  # here


@pytest.mark.parametrize("forward", [as_array, equal_tensors])
def test_what_python_reads_of_a_tensor_is_a_branch(forward: Forward) -> None:
    network = network_of(forward, one=linear(4, 6), last=linear(6, 2))
    assert network.why_fixed("one") == f"the forward pass branches on data {here(forward)}"


def test_a_model_may_return_a_packed_sequence() -> None:
    def forward(m: Any, x: Tensor) -> Any:
        packed = pack_padded_sequence(m.one(x), torch.tensor([5, 3]), batch_first=True)
        return m.rnn(packed)[0]

    network = network_of(forward, one=linear(4, 6), rnn=nn.LSTM(6, 3, batch_first=True))
    assert dict(network.frozen) == {"rnn.l0": OUT}


def test_layers_may_be_called_by_the_names_of_their_arguments() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        state = torch.tanh(m.two(x.mean(1)))[None]
        y, _ = m.rnn(hx=state, input=m.one(input=x))
        return m.last(input=y)

    network = network_of(
        forward,
        one=linear(4, 6),
        two=linear(4, 3),
        rnn=nn.GRU(6, 3, batch_first=True),
        last=linear(3, 2),
    )
    assert dict(network.frozen) == {"last": OUT}
    assert network.inputs["rnn.l0"] == (owner("one", 6),)
    assert network.groups["two"] == network.groups["rnn.l0"]


def test_a_forward_that_is_called_itself_is_followed() -> None:
    network = network_of(lambda m, x: m.last(m.one.forward(x)), one=linear(4, 6), last=linear(6, 2))
    assert dict(network.frozen) == {"last": OUT}


def test_a_single_unit_stays_single() -> None:
    """Its value is broadcast over the units of others: several would not fit."""

    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.one(x)
        return m.last((torch.softmax(m.energy(y), 1) * y).sum(1))

    network = network_of(forward, one=linear(4, 6), energy=linear(6, 1), last=linear(6, 2))
    assert dict(network.frozen) == {"energy": "has a single unit", "last": OUT}


def test_a_constant_gain_does_not_hide_a_wrong_layout() -> None:
    """A branch with a gain of zero computes nothing, until it has been trained."""

    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.one(x)
        wrong = y.reshape(2, 5, -1)[..., :6] if y.shape[-1] == 6 else y[..., [*range(5), 7]]
        return m.last(torch.cat([m.gain.weight * m.two(wrong), x], -1))

    gain = nn.LayerNorm(3)
    nn.init.zeros_(gain.weight)
    network = network_of(forward, one=linear(4, 6), two=linear(6, 3), gain=gain, last=linear(7, 2))
    assert network.why_fixed("one") is not None


# --- products, attention --------------------------------------------------------------------------


def heads(y: Tensor, size: int) -> Tensor:
    return y.view(*y.shape[:2], -1, size).transpose(1, 2)


def by_matmul(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.softmax(q @ k.transpose(-1, -2) / 2, -1) @ v


def by_einsum(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = torch.softmax(torch.einsum("bhld,bhsd->bhls", q, k), -1)
    return torch.einsum("bhls,bhsd->bhld", weights, v)


def by_sdpa(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v)


def causal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


@pytest.mark.parametrize(
    "attend", [by_matmul, by_einsum, by_sdpa, causal], ids=lambda f: f.__name__
)
def test_whole_heads_grow(attend: Any) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        q, k, v = (heads(layer(x), 4) for layer in (m.q, m.k, m.v))
        return m.last(attend(q, k, v).transpose(1, 2).flatten(2))

    layers = {name: linear(4, 12) for name in "qkv"}
    network = network_of(forward, **layers, last=linear(12, 2))
    assert {network.groups[name] for name in "qkv"} == {"q"}
    assert dict(network.frozen) == {"last": OUT}
    for layout in (*(network.outputs[name] for name in "qkv"), network.inputs["last"]):
        assert layout == (owner("q", 3, run=4),)


def test_one_projection_for_query_key_and_value() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        q, k, v = m.qkv(x).chunk(3, -1)
        y = by_sdpa(*(heads(each, 4) for each in (q, k, v)))
        return m.last(y.transpose(1, 2).flatten(2))

    network = network_of(forward, qkv=linear(4, 36), last=linear(12, 2))
    assert network.outputs["qkv"] == (owner("qkv", 3, run=4),) * 3
    assert dict(network.frozen) == {"last": OUT}


def test_attention_without_heads_cannot_grow() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return m.last(by_sdpa(m.q(x)[:, None], m.k(x)[:, None], m.v(x)[:, None])[:, 0])

    network = network_of(forward, q=linear(4, 6), k=linear(4, 6), v=linear(4, 6), last=linear(6, 2))
    for name in "qk":
        assert "is read across its units by 'scaled_dot_product" in str(network.why_fixed(name))


@pytest.mark.parametrize("dim", [-1, 1], ids=["across units", "across channels"])
def test_glu_halves(dim: int) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        if dim == 1:
            return m.last(F.glu(m.conv(x), 1).mean(2))
        return m.last(F.glu(m.one(x), -1))

    conv = nn.Conv1d(5, 6, 3, padding=1)
    layers = {"conv": conv} if dim == 1 else {"one": linear(4, 6)}
    network = network_of(forward, **layers, last=linear(3, 2))
    (name,) = layers
    assert network.outputs[name] == (owner(name, 3), owner(name, 3))
    assert dict(network.frozen) == {"last": OUT}


# --- layers ---------------------------------------------------------------------------------------


def test_a_shared_layer_ties_what_it_reads() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return m.last(m.both(m.one(x)) + m.both(torch.relu(m.two(x))))

    network = network_of(
        forward, one=linear(4, 6), two=linear(4, 6), both=linear(6, 3), last=linear(3, 2)
    )
    assert dict(network.groups) == {"one": "one", "two": "one", "both": "both", "last": "last"}
    assert dict(network.frozen) == {"last": OUT}


def test_a_shared_layer_that_also_reads_the_input() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return m.last(m.both(m.both(x)))

    network = network_of(forward, both=linear(4, 4), last=linear(4, 2))
    assert network.why_fixed("both") == "is read by both in more than one way"


def test_norms_follow_their_channels() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return m.last(torch.relu(m.norm(m.conv(x))).mean(2))

    network = network_of(
        forward, conv=nn.Conv1d(5, 6, 1), norm=nn.BatchNorm1d(6), last=linear(6, 2)
    )
    assert [norm.name for norm in network.norms] == ["norm"]
    assert network.outputs["norm"] == network.outputs["conv"] == (owner("conv", 6),)


def test_group_norm_lets_whole_groups_grow() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return m.last(m.norm(m.conv(x)).mean(2))

    network = network_of(
        forward, conv=nn.Conv1d(5, 6, 1), norm=nn.GroupNorm(3, 6), last=linear(6, 2)
    )
    assert network.outputs["conv"] == (owner("conv", 3, run=2),)


def test_depthwise_channels_are_their_inputs() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return m.last(m.depth(m.conv(x)).mean(2))

    depth = nn.Conv1d(6, 12, 3, groups=6)
    network = network_of(forward, conv=nn.Conv1d(5, 6, 1), depth=depth, last=linear(12, 2))
    assert network.groups["depth"] == "conv"
    assert network.outputs["depth"] == (owner("conv", 6, run=2),)


def test_channels_in_groups_of_the_input_cannot_grow() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return m.last(m.conv(x).mean(2))

    network = network_of(forward, conv=nn.Conv1d(5, 10, 3, groups=5), last=linear(10, 2))
    assert network.why_fixed("conv") == "reads channels in groups, and these cannot grow"


# --- recurrence -----------------------------------------------------------------------------------


def last_states(m: Any, x: Tensor) -> Tensor:
    _, state = m.rnn(x)
    return m.last(torch.cat([state[-2], state[-1]], -1))


def test_last_states_of_both_directions() -> None:
    rnn = nn.GRU(4, 5, bidirectional=True, batch_first=True)
    network = network_of(last_states, rnn=rnn, last=linear(10, 2))
    assert network.inputs["last"] == (owner("rnn.l0", 5), owner("rnn.l0", 5))
    assert dict(network.frozen) == {"last": OUT}


def test_a_state_that_is_read_ties_its_layers() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return m.last(m.rnn(x)[1].sum(0))

    network = network_of(forward, rnn=nn.GRU(4, 5, 2, batch_first=True), last=linear(5, 2))
    assert network.groups["rnn.l1"] == "rnn.l0"
    assert dict(network.frozen) == {"last": OUT}


def test_a_layer_that_sets_the_first_state_has_its_units() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return m.last(m.rnn(x, torch.tanh(m.start(x[:, 0]))[None])[0])

    rnn = nn.GRU(4, 5, batch_first=True)
    network = network_of(forward, start=linear(4, 5), rnn=rnn, last=linear(5, 2))
    assert network.groups["rnn.l0"] == "start"
    assert dict(network.frozen) == {"last": OUT}


def test_units_go_through_packing() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        packed = pack_padded_sequence(m.one(x), torch.tensor([5, 3]), batch_first=True)
        return m.last(pad_packed_sequence(m.rnn(packed)[0], batch_first=True)[0])

    rnn = nn.LSTM(6, 5, batch_first=True)
    network = network_of(forward, one=linear(4, 6), rnn=rnn, last=linear(5, 2))
    assert network.inputs["rnn.l0"] == (owner("one", 6),)
    assert network.inputs["last"] == (owner("rnn.l0", 5),)
    assert dict(network.frozen) == {"last": OUT}


# --- branches, dropout ----------------------------------------------------------------------------


def branching(m: Any, x: Tensor) -> Tensor:
    y = m.one(x)
    if y.sum() > 0:  # here
        y = torch.relu(y)
    return m.last(y)


def test_a_branch_on_data_freezes_all() -> None:
    network = network_of(branching, one=linear(4, 6), last=linear(6, 2))
    reason = f"the forward pass branches on data {here(branching)}"
    assert network.why_fixed("last") == reason
    assert "one" in network.frozen


def test_a_branch_on_lengths_is_no_branch_on_data() -> None:
    def forward(m: Any, x: Tensor, lengths: Tensor) -> Tensor:
        return m.last(m.one(x)[:, : int(lengths.max())])

    inputs = torch.randn(2, 5, 4), torch.tensor([4, 2])
    network = network_of(forward, *inputs, one=linear(4, 6), last=linear(6, 2))
    assert dict(network.frozen) == {"last": OUT}


def dropped(m: Any, x: Tensor) -> Tensor:
    return m.last(F.dropout(m.one(F.dropout(x, 0.5, m.training)), 0.25, m.training))


def dropped_before_an_activation(m: Any, x: Tensor) -> Tensor:
    return m.last(torch.relu(F.dropout(m.one(x), 0.25, m.training)))


def dropped_once_of_two(m: Any, x: Tensor) -> Tensor:
    y = m.one(x)
    return m.last(F.dropout(y, 0.25, m.training)) + m.last(y)


@pytest.mark.parametrize(
    ("forward", "dropouts"),
    [
        (dropped, {"one": 0.5, "last": 0.25}),
        (dropped_before_an_activation, {}),
        (dropped_once_of_two, {}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_dropout_right_before_a_layer(forward: Forward, dropouts: dict[str, float]) -> None:
    network = network_of(forward, one=linear(4, 6), last=linear(6, 2))
    assert dict(network.dropouts) == dropouts


def test_outputs_in_an_object_are_outputs() -> None:
    def forward(m: Any, x: Tensor) -> Any:
        y = m.one(x)
        return SimpleNamespace(out=m.last(y), hidden=[y])

    network = network_of(forward, one=linear(4, 6), last=linear(6, 2))
    assert network.why_fixed("one") == OUT
