"""Growth through LayerNorm and RMSNorm: old and new models on the same input, in float64.

Tolerance: 1e-12 of the largest output; the two models add other numbers of products.
"""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from autoquant.artifact import packed_file
from autoquant.graph.describe import describe
from autoquant.graph.network import Network
from autoquant.graph.prepare import prepare
from autoquant.graph.reinit import reinitialize
from autoquant.graph.widen import WideningRequest, widen
from autoquant.plan import LayerChoice, Plan
from autoquant.settings import Scheme
from tests.families import libraries
from tests.families.cycle import Cycle, outputs, without_constants

WORDS, LENGTH = 13, 9
TOLERANCE = 1e-12
NORMS = {"LayerNorm": nn.LayerNorm, "RMSNorm": nn.RMSNorm}


class Block(nn.Module):
    """A pre-norm block: attention and two linear layers, each behind a norm."""

    def __init__(self, norm: Any, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = norm(width), norm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.up, self.down = nn.Linear(width, 6), nn.Linear(6, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.down(torch.relu(self.up(self.norm2(x))))


class PreNorm(nn.Module):
    """Tokens, positions, pre-norm blocks, maybe a norm, and an output layer, maybe tied.

    Args:
        norm: name of the norm.
        heads: of the attention; each has 4 units.
        layers: number of blocks.
        positions: "parameter", "buffer", "embedding", "class token" or "none".
        end: "norm", "tied" (behind a norm), or "plain" without a norm.
    """

    def __init__(
        self,
        norm: str = "LayerNorm",
        heads: int = 2,
        layers: int = 1,
        positions: str = "parameter",
        end: str = "norm",
    ) -> None:
        super().__init__()
        width = 4 * heads
        self.tokens, self.positions = nn.Embedding(WORDS, width), positions
        table = torch.randn(1, LENGTH, width)
        if positions == "parameter":
            self.table = nn.Parameter(table)
        elif positions == "buffer":
            self.register_buffer("table", table)
        elif positions == "embedding":
            self.place = nn.Embedding(LENGTH, width)
        elif positions == "class token":
            self.first = nn.Parameter(table[:, :1])
        self.blocks = nn.Sequential(*(Block(NORMS[norm], width, heads) for _ in range(layers)))
        self.norm = nn.Identity() if end == "plain" else NORMS[norm](width)
        self.head = nn.Linear(width, WORDS, bias=end != "tied")
        if end == "tied":
            self.head.weight = self.tokens.weight

    def forward(self, words: Tensor) -> Tensor:
        x = self.tokens(words)
        if self.positions in ("parameter", "buffer"):
            x = 0.5 * x + self.table[:, : words.shape[1]]
        elif self.positions == "embedding":
            x = x + self.place(torch.arange(words.shape[1]))
        elif self.positions == "class token":
            x = torch.cat([self.first.expand(len(x), -1, -1), x], 1)
        return self.head(self.norm(self.blocks(x)))


def words() -> Tensor:
    return torch.randint(WORDS, (3, 5), generator=torch.Generator().manual_seed(0))


def described(source: nn.Module, *inputs: Tensor) -> tuple[nn.Module, Network]:
    """A prepared model in float64, and its network."""
    model = prepare(without_constants(source)).double().eval()
    return model, describe(model, inputs or (words(),))


def widened(
    model: nn.Module, network: Network, width: float, method: str = "split"
) -> tuple[nn.Module, Network]:
    """All groups that can grow, grown."""
    free = {group: width for group in network.groups.values() if group not in network.frozen}
    plan = network.at_widths(free)
    return widen(model, network, WideningRequest(plan, Scheme(), method, 0))


def assert_same(grown: nn.Module, model: nn.Module, *inputs: Tensor) -> None:
    """Outputs differ by at most TOLERANCE of the largest."""
    (new,), (old,) = outputs(grown, inputs), outputs(model, inputs)
    assert float((new - old).abs().max()) <= TOLERANCE * float(old.abs().max())


# --- the function stays ---------------------------------------------------------------------------


@settings(max_examples=8)
@given(
    norm=st.sampled_from(sorted(NORMS)),
    heads=st.integers(1, 3),
    layers=st.integers(1, 2),
    positions=st.sampled_from(["parameter", "buffer", "embedding", "class token", "none"]),
    end=st.sampled_from(["norm", "tied", "plain"]),
    width=st.sampled_from([1.5, 1.8, 2.0, 3.0]),
    method=st.sampled_from(["split", "fresh", "even"]),
)
def test_a_pre_norm_transformer_computes_the_same(
    width: float, method: str, **options: Any
) -> None:
    torch.manual_seed(0)
    model, network = described(PreNorm(**options))
    assert network.why_fixed("tokens") is None
    grown, promised = widened(model, network, width, method)
    assert grown.tokens.embedding_dim == promised.layers[0].units > model.tokens.embedding_dim
    assert_same(grown, model, words())
    assert promised.parameters == describe(grown, None).parameters


@pytest.mark.parametrize("norm", NORMS)
def test_eps_counts_where_the_variance_is_small(norm: str) -> None:
    """With values of 1e-3 an eps of 1e-5 is ten times their variance."""
    torch.manual_seed(0)
    inputs = 1e-3 * torch.randn(7, 5).double()
    source = nn.Sequential(nn.Linear(5, 8, bias=False), NORMS[norm](8, eps=1e-5), nn.Linear(8, 3))
    model, network = described(source, inputs)
    grown, promised = widened(model, network, 1.5)
    assert grown[1].eps == promised.norms[0].eps == 1e-5 * 8 / 12
    assert grown[1].normalized_shape == (12,)
    assert_same(grown, model, inputs)


def test_an_rms_norm_without_an_eps_has_that_of_its_numbers() -> None:
    torch.manual_seed(0)
    inputs = 1e-8 * torch.randn(7, 5).double()
    source = nn.Sequential(nn.Linear(5, 8, bias=False), nn.RMSNorm(8), nn.Linear(8, 3))
    model, network = described(source, inputs)
    grown, _ = widened(model, network, 2.0)
    assert grown[1].eps == torch.finfo(torch.float64).eps / 2
    assert_same(grown, model, inputs)


def test_rows_are_the_mean_and_gains_shrink() -> None:
    model, network = described(PreNorm())
    grown, _ = widened(model, network, 1.5)
    old, new = model.tokens.weight, grown.tokens.weight  # [words, units]
    torch.testing.assert_close(new[:, 8:], old.mean(1, keepdim=True).expand(-1, 4))
    torch.testing.assert_close(grown.table[..., 8:].mean(-1), model.table.mean(-1))
    torch.testing.assert_close(grown.norm.weight[:8], model.norm.weight * math.sqrt(8 / 12))
    assert not grown.norm.bias[8:].any()
    down = grown.blocks[0].down
    torch.testing.assert_close(down.bias[8:], model.blocks[0].down.bias.mean().expand(4))


def test_rows_are_zeros_before_an_rms_norm() -> None:
    model, network = described(PreNorm("RMSNorm"))
    grown, _ = widened(model, network, 1.5)
    assert not grown.tokens.weight[:, 8:].any()
    assert not grown.table[..., 8:].any()
    assert not grown.blocks[0].attention.out_proj.bias[8:].any()


def test_a_tied_weight_stays_tied() -> None:
    model, network = described(PreNorm(end="tied"))
    grown, _ = widened(model, network, 1.5)
    assert grown.head.weight is grown.tokens.weight
    assert (grown.head.in_features, grown.tokens.embedding_dim) == (12, 12)


class EncoderDecoder(nn.Module):
    """Two pre-norm streams of one table, which a layer holds that is not called itself."""

    def __init__(self, norm: str) -> None:
        super().__init__()
        self.shared, self.head = nn.Embedding(WORDS, 8), nn.Linear(8, WORDS, bias=False)
        self.source, self.target = nn.Embedding(WORDS, 8), nn.Embedding(WORDS, 8)
        for layer in (self.source, self.target, self.head):
            layer.weight = self.shared.weight
        self.encoder, self.decoder = (Block(NORMS[norm], 8, 2) for _ in range(2))
        self.norm, self.memory_norm = NORMS[norm](8), NORMS[norm](8)
        self.cross = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, words: Tensor) -> Tensor:
        memory = self.memory_norm(self.encoder(self.source(words)))
        x = self.decoder(self.target(words.flip(1)))
        x = x + self.cross(self.norm(x), memory, memory, need_weights=False)[0]
        return self.head(0.5 * self.norm(x))


@pytest.mark.parametrize("norm", NORMS)
def test_streams_of_one_table_grow_together(norm: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, network = described(EncoderDecoder(norm))
    assert dict(network.frozen) == {"head": "feeds the model's output"}
    assert {"source", "target", "encoder.down", "decoder.down"} < {*network.members("shared")}
    grown, _ = widened(model, network, 1.5)
    for layer in (grown.source, grown.target, grown.head):
        assert layer.weight is grown.shared.weight
    assert_same(grown, model, words())
    cycle = Cycle(lambda: EncoderDecoder(norm), (words(),))
    cycle.check_packed(cycle.mixed(dict.fromkeys(cycle.free, 1.5)), tmp_path)


def test_channels_before_a_layer_norm_over_channels() -> None:
    """LayerNorm2d of torchvision, along the first axis behind the batch."""
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("needs torchvision")
    norm = libraries._torchvision().models.convnext.LayerNorm2d(6)
    torch.manual_seed(0)
    source = nn.Sequential(nn.Conv2d(3, 6, 3), norm, nn.Conv2d(6, 4, 1), nn.Flatten(2))
    image = torch.randn(2, 3, 6, 6).double()
    model, network = described(source, image)
    assert network.outputs["0"][0].new_units == "mean"
    grown, _ = widened(model, network, 1.5)
    assert_same(grown, model, image)


# --- what is trained, stored, drawn anew ----------------------------------------------------------


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("end", ["norm", "tied", "plain"])
def test_new_units_are_trained(norm: str, end: str) -> None:
    """Rows have gradients at once, no two of them equal; columns once the rows have moved."""
    torch.manual_seed(0)
    model, network = described(PreNorm(norm, layers=2, end=end))
    grown, _ = widened(model, network, 1.5)
    down, up = grown.blocks[0].down, grown.blocks[0].up
    optimizer = torch.optim.SGD(grown.parameters(), lr=1e-3)
    targets = torch.randn(3, 5, WORDS).double()
    (grown(words()) - targets).square().sum().backward()
    for gradient in (
        *(grown.tokens.weight.grad[words()[0, 0], 8:], grown.table.grad[0, 0, 8:]),
        *(down.bias.grad[8:], down.weight.grad[8:, 0]),
    ):
        assert float(gradient.abs().min()) > 1e-6
        assert len(gradient.unique()) == len(gradient)
    optimizer.step()
    optimizer.zero_grad()
    (grown(words()) - targets).square().sum().backward()
    assert float(up.weight.grad[:, 8:].abs().amax(0).min()) > 1e-9


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("end", ["norm", "tied"])
def test_a_packed_file_keeps_a_grown_stream(norm: str, end: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    cycle = Cycle(lambda: PreNorm(norm, end=end), (words(),))
    assert "tokens" in cycle.free
    plan = cycle.mixed(dict.fromkeys(cycle.free, 1.5))
    cycle.check_packed(plan, tmp_path)
    loaded = packed_file.load(tmp_path / "packed", PreNorm(norm, end=end))
    eps = {spec.name: spec.eps for spec in cycle.network.resized(plan).norms}
    assert {name: loaded.get_submodule(name).eps for name in eps} == eps
    assert loaded.table.shape == (1, LENGTH, 12)


@pytest.mark.parametrize("norm", NORMS)
def test_a_model_that_starts_from_scratch_has_its_gains(norm: str) -> None:
    torch.manual_seed(0)
    small = prepare(PreNorm(norm))
    network = describe(small, (words(),))
    wide, after = widened(small, network, 1.5, "even")
    reinitialize(wide, small, network, after, seed=0)
    torch.testing.assert_close(wide.norm.weight, torch.ones(12))
    assert len(torch.unique(wide.table[0], dim=1).T) == 12  # no two columns are equal
    assert set(wide.table.flatten().tolist()) <= set(small.table.flatten().tolist())


def test_a_buffer_is_not_drawn_anew() -> None:
    small = prepare(PreNorm(positions="buffer"))
    network = describe(small, (words(),))
    wide, after = widened(small, network, 1.5, "even")
    reinitialize(wide, small, network, after, seed=0)
    assert torch.equal(wide.table[..., :8], small.table)


def test_growth_costs_count_tables_norms_and_readers() -> None:
    _, network = described(PreNorm())
    plan = Plan(
        {
            name: LayerChoice(width=1.5 if network.groups[name] == "tokens" else 1.0)
            for name in network.names
        }
    )
    added = network.resized(plan).parameters - network.parameters
    attention, feed_forward = 3 * 8 + (8 + 1), 6 + (6 + 1)  # of each new unit
    norms, head = 3 * 2, WORDS
    assert added == 4 * (WORDS + LENGTH + attention + feed_forward + norms + head)
