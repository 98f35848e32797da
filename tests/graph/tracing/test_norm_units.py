"""Which units before a LayerNorm or RMSNorm may grow, and the reasons where they may not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autoquant.graph.describe import describe
from autoquant.graph.equivalence import check_same_function
from autoquant.graph.network import Network
from autoquant.graph.prepare import prepare
from autoquant.graph.widen import WideningRequest, widen
from autoquant.settings import Scheme
from tests.graph.tracing.lines import here

Forward = Callable[[Any, Tensor], Any]
INPUTS = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
POST_NORM = "is normalised by norm2 after the norm norm (post-norm)"


class Model(nn.Module):
    """Two layers that write 6 units, two norms, readers, tables; the forward pass is given."""

    def __init__(self, forward: Forward, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.one, self.two, self.last = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 2)
        self.norm, self.norm2, self.other = norm(6), norm(6), nn.RMSNorm(6)
        self.wide, self.wide_last = norm(12), nn.Linear(12, 2)
        self.rnn, self.depth = nn.GRU(4, 6, batch_first=True), nn.Conv1d(6, 6, 1, groups=6)
        self.table, self.gain = nn.Parameter(torch.randn(5, 6)), nn.Parameter(torch.randn(6))
        self.register_buffer("constants", torch.randn(5, 6))
        self.register_buffer("temporary", torch.randn(5, 6), persistent=False)
        self._run = forward

    def forward(self, values: Tensor) -> Any:
        return self._run(self, values)


def network_of(forward: Forward, norm: Callable[[int], nn.Module] = nn.LayerNorm) -> Network:
    """The network; what is not frozen grows without changing the function."""
    torch.manual_seed(0)
    model = prepare(Model(forward, norm)).eval()
    network = describe(model, (INPUTS,))
    free = {group: 1.5 for group in network.groups.values() if group not in network.frozen}
    grown, _ = widen(model, network, WideningRequest(network.at_widths(free), Scheme(), "split", 0))
    check_same_function(model, grown, (INPUTS,))
    return network


# --- what grows -----------------------------------------------------------------------------------


def plain(m: Any, x: Tensor) -> Tensor:
    return m.last(m.norm(m.one(x)))


def residual(m: Any, x: Tensor) -> Tensor:
    y = m.one(x)
    y = y + m.two(torch.tanh(m.norm(y)))
    return m.last(m.norm2(y))


def in_place(m: Any, x: Tensor) -> Tensor:
    y = m.one(x)
    y += m.two(m.norm(y))
    return m.last(m.norm2(y))


def scaled(m: Any, x: Tensor) -> Tensor:
    y = (m.one(x) * 2.0 / 3.0).masked_fill(x[..., :1] > 1, 0.0)
    return m.last(m.norm(-y.transpose(0, 1).contiguous().mean(1)))


def with_table(m: Any, x: Tensor) -> Tensor:
    return m.last(m.norm(m.one(x) + m.table))


def with_buffer(m: Any, x: Tensor) -> Tensor:
    return m.last(m.norm(m.one(x) + m.constants[: x.shape[1]]))


def with_looked_up_table(m: Any, x: Tensor) -> Tensor:
    return m.last(m.norm(m.one(x) + F.embedding(torch.arange(5), m.table)))


def with_first_token(m: Any, x: Tensor) -> Tensor:
    return m.last(m.norm(torch.cat([m.table[None, :1].expand(2, -1, -1), m.one(x)], 1)))


def read_without_norm(m: Any, x: Tensor) -> Tensor:
    y = m.one(x)
    return m.last(torch.sigmoid(y) + m.two(m.norm(y)))


def normalised_twice(m: Any, x: Tensor) -> Tensor:
    return m.last(m.norm(m.one(x)) + m.norm(m.two(torch.relu(m.norm2(m.one(x))))))


def same_steps_padded(m: Any, x: Tensor) -> Tensor:
    return m.last(m.norm(F.pad(m.one(x), (0, 0, 1, 0))))


GROWS = (
    *(plain, residual, in_place, scaled, with_table, with_buffer, with_looked_up_table),
    *(with_first_token, read_without_norm, normalised_twice, same_steps_padded),
)


@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.RMSNorm], ids=lambda norm: norm.__name__)
@pytest.mark.parametrize("forward", GROWS, ids=lambda each: each.__name__)
def test_streams_that_grow(forward: Forward, norm: Any) -> None:
    network = network_of(forward, norm)
    assert network.why_fixed("one") is None
    (segment,) = network.outputs["one"]
    assert segment.new_units == ("mean" if norm is nn.LayerNorm else "zeros")
    assert network.outputs["norm"] == network.outputs["one"]


def behind_a_relu(m: Any, x: Tensor) -> Tensor:
    return m.last(m.norm(torch.relu(m.one(x))))  # here


def post_norm(m: Any, x: Tensor) -> Tensor:
    y = m.norm(m.one(x))
    return m.last(m.norm2(y + m.two(y)))


def gated_by_units(m: Any, x: Tensor) -> Tensor:
    y = m.one(x)
    return m.last(m.norm(y * torch.sigmoid(m.two(y))))  # here


@pytest.mark.parametrize("forward", [behind_a_relu, post_norm, gated_by_units])
def test_zeros_pass_where_a_mean_does_not(forward: Forward) -> None:
    assert network_of(forward, nn.RMSNorm).why_fixed("one") is None
    assert network_of(forward, nn.LayerNorm).why_fixed("one") is not None


# --- what does not --------------------------------------------------------------------------------


def two_kinds(m: Any, x: Tensor) -> Tensor:
    y = m.one(x)
    return m.last(m.norm(y) + m.other(y))


def joined(m: Any, x: Tensor) -> Tensor:
    y = m.one(x)
    return m.wide_last(m.wide(torch.cat([y, m.two(torch.relu(y))], -1)))


def joined_with_input(m: Any, x: Tensor) -> Tensor:
    return m.wide_last(m.wide(torch.cat([m.one(x), x, x[..., :2]], -1)))


def behind_heads(m: Any, x: Tensor) -> Tensor:
    y = m.one(x)
    heads = y.view(2, 5, -1, 2).transpose(1, 2)
    y = F.scaled_dot_product_attention(heads, heads, heads).transpose(1, 2).flatten(2)
    return m.last(m.norm(y))  # here


def behind_a_depthwise_convolution(m: Any, x: Tensor) -> Tensor:
    return m.last(m.norm(m.depth(m.one(x).transpose(1, 2)).transpose(1, 2)))


def with_a_gain(m: Any, x: Tensor) -> Tensor:
    y = m.one(x)
    return m.last(m.norm(y + m.gain * m.two(torch.relu(y))))  # here


def with_a_temporary_table(m: Any, x: Tensor) -> Tensor:
    return m.last(m.norm(m.one(x) + m.temporary))  # here


def with_input(m: Any, x: Tensor) -> Tensor:
    return m.last(m.norm(m.one(x) + torch.cat([x, x], -1)[..., :6]))  # here


def functional(m: Any, x: Tensor) -> Tensor:
    return m.last(F.layer_norm(m.one(x), (6,)))  # here


def largest_step(m: Any, x: Tensor) -> Tensor:
    return m.last(m.norm(m.one(x).amax(1)))  # here


FROZEN = {
    behind_a_relu: "is normalised by norm after 'relu' {}",
    gated_by_units: "is normalised by norm after 'mul' {}",
    post_norm: POST_NORM,
    two_kinds: "is normalised by norm and other, which need other new units",
    joined: "is normalised by wide together with other units",
    joined_with_input: "is normalised by wide together with values that cannot grow",
    behind_a_depthwise_convolution: "is normalised by norm after the conv1d layer depth",
    with_a_gain: "is normalised by norm after 'mul' {}",
    with_a_temporary_table: "is combined by 'add' {} with a value whose units cannot grow",
    with_input: "is combined by 'add' {} with a value whose units cannot grow",
    functional: "is normalised across its units by 'native_layer_norm' {}",
    largest_step: "is normalised by norm after 'amax' {}",
}


@pytest.mark.parametrize(("forward", "reason"), FROZEN.items(), ids=[f.__name__ for f in FROZEN])
def test_streams_that_do_not_grow(forward: Forward, reason: str) -> None:
    place = here(forward) if "{}" in reason else ""
    assert network_of(forward).why_fixed("one") == reason.format(place)


def test_heads_before_a_norm_do_not_grow() -> None:
    assert "is normalised by norm after" in str(network_of(behind_heads).why_fixed("one"))


def test_a_constant_before_an_rms_norm() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return m.last(m.norm(m.one(x) + 1.0))

    reason = "is normalised by norm after a constant was added"
    assert network_of(forward, nn.RMSNorm).why_fixed("one") == reason
    assert network_of(forward, nn.LayerNorm).why_fixed("one") is None


def test_a_recurrent_layer_before_a_norm() -> None:
    reason = "is normalised by norm after the recurrent layer rnn"
    network = network_of(lambda m, x: m.last(m.norm(m.rnn(x)[0])))
    assert network.why_fixed("rnn.l0") == reason


def test_a_recurrent_layer_whose_state_is_normalised() -> None:
    """Its units are bound to those of a layer that writes its first state."""

    def forward(m: Any, x: Tensor) -> Tensor:
        state = m.one(x[:, 0])
        return m.last(m.rnn(x, state[None])[0]) + m.last(m.norm(state))[:, None]

    assert "rnn.l0" in network_of(forward).groups
    assert network_of(forward).why_fixed("rnn.l0") is not None


def test_a_table_of_units_without_a_norm_does_not_grow() -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        return m.last(torch.relu(m.one(x) + m.gain))  # here

    reason = f"is combined by 'add' {here(forward)} with a value whose units cannot grow"
    assert network_of(forward).why_fixed("one") == reason


def test_a_tied_output_layer_without_a_norm_does_not_grow() -> None:
    """Its new columns are rows of the table: they are no zeros, and the units it reads neither."""

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.norm = nn.Embedding(9, 6), nn.LayerNorm(6)
            self.inner, self.head = nn.Linear(6, 6), nn.Linear(6, 9)
            self.head.weight = self.tokens.weight

        def forward(self, words: Tensor) -> Tensor:
            x = self.tokens(words)
            return self.head(x + self.inner(self.norm(x)))

    network = describe(prepare(Tied()).eval(), (torch.randint(9, (2, 5)),))
    assert network.why_fixed("tokens") == "head.weight is the weight of tokens too"


def test_a_norm_over_the_entries_of_a_head_lets_heads_grow() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k, self.last = nn.Linear(4, 12), nn.Linear(4, 12), nn.Linear(12, 2)
            self.norm = nn.LayerNorm(4)

        def forward(self, x: Tensor) -> Tensor:
            q, k = (y.unflatten(-1, (-1, 4)).transpose(1, 2) for y in (self.q(x), self.k(x)))
            y = F.scaled_dot_product_attention(self.norm(q), self.norm(k), k)
            return self.last(y.transpose(1, 2).flatten(2))

    network = describe(prepare(Heads()).eval(), (INPUTS,))
    assert dict(network.frozen) == {"last": "feeds the model's output"}
    assert network.outputs["q"][0].run == 4
    assert network.outputs["norm"][0].group is None
