"""PackedEmbedding: the rows of the fake-quantized table, decoded only where they are looked up."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from autoquant.plan import LayerChoice
from autoquant.quantization.codes import Grid
from autoquant.runtime import PackedEmbedding, PackedWeight
from autoquant.runtime import weight as weight_module
from autoquant.settings import Scheme, Training
from autoquant.training.loop import train
from autoquant.training.qat import build_candidate
from tests.runtime.pairs import (
    CHOSEN_BITS,
    SCHEMES,
    Pair,
    assert_same,
    noise,
    pair,
    saved,
    seeded,
    weights_of,
)
from tests.toys import RegressionTask, plan_of, prepared

WORDS, UNITS = 23, 13
SOME = torch.tensor([[0, 5, 22], [5, 5, 1]])


def embedding(folder: Path, bits: float, scheme: str = "learned, channel", **options: Any) -> Pair:
    def build() -> nn.Module:
        return nn.Embedding(WORDS, UNITS, **options)

    inputs = torch.arange(WORDS - 1).view(11, 2)
    return pair(folder, build, LayerChoice(bits, 8), inputs, SCHEMES[scheme])


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("bits", CHOSEN_BITS, ids="w{}".format)
def test_equals_the_fake_quantized_table(bits: float, scheme: str, tmp_path: Path) -> None:
    both = embedding(tmp_path, bits, scheme)
    assert isinstance(both.loaded, PackedEmbedding)
    assert_same(both, torch.arange(WORDS))
    assert torch.equal(both.loaded.weight, both.fake.weight)


@pytest.mark.parametrize("bits", [16, 32])
def test_a_float_table_is_decoded_once(bits: int, tmp_path: Path) -> None:
    both = embedding(tmp_path, bits)
    assert isinstance(both.loaded, nn.Embedding)
    assert_same(both, SOME)


def test_the_padding_index_is_there_for_code_that_reads_it(tmp_path: Path) -> None:
    both = embedding(tmp_path, 4, padding_idx=5)
    assert both.loaded.padding_idx == 5
    assert_same(both, SOME)


PADDING = 5
WITH_PADDING = torch.tensor([[0, PADDING, 22], [PADDING, PADDING, 1]])


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("bits", [1, 2, 3, 4], ids="w{}".format)
def test_a_padding_row_of_zeros_is_looked_up_as_zeros(
    bits: int, scheme: str, tmp_path: Path
) -> None:
    """Also on grids without a level at zero."""
    both = embedding(tmp_path, bits, scheme, padding_idx=PADDING)
    assert_same(both, WITH_PADDING)
    vectors = both.loaded(WITH_PADDING)
    assert torch.equal(vectors.any(-1), WITH_PADDING != PADDING)
    scalar = torch.tensor(PADDING)
    assert torch.equal(both.fake(input=scalar), torch.zeros(UNITS))


def test_the_padding_row_follows_the_codes(tmp_path: Path) -> None:
    """Those of a state_dict, of a copy, and on another device or in another type."""
    scheme = Scheme(granularity="tensor")
    both = pair(
        tmp_path,
        lambda: nn.Embedding(WORDS, UNITS, padding_idx=PADDING),
        LayerChoice(2, 8),
        WITH_PADDING,
        scheme,
    )
    word = torch.tensor(PADDING)
    other = copy.deepcopy(both.loaded.double())
    assert not bool(other(word).any())
    state = other.state_dict()
    packed = next(name for name in state if name.endswith("_extra_state"))
    state[packed] = state[packed].roll(1, 0)
    other.load_state_dict(state)
    assert bool(other(word).all())
    assert both.loaded.to("meta")(word.to("meta")).shape == (UNITS,)


def test_another_padding_row_is_looked_up_as_it_is(tmp_path: Path) -> None:
    def build() -> nn.Module:
        table = nn.Embedding(WORDS, UNITS, padding_idx=PADDING)
        nn.init.normal_(table.weight)
        return table

    both = pair(tmp_path, build, LayerChoice(2, 8), WITH_PADDING, Scheme(granularity="tensor"))
    assert_same(both, WITH_PADDING)
    assert float(both.loaded(torch.tensor(PADDING)).abs().min()) > 0


class Tied(nn.Module):
    """A decoder shares the table, and reads its padding row as it is stored."""

    def __init__(self, hook: bool = False) -> None:
        super().__init__()
        self.table = nn.Embedding(WORDS, UNITS, padding_idx=PADDING)
        self.decoder = nn.Linear(UNITS, WORDS, bias=False)
        self.decoder.weight = self.table.weight
        if hook:  # such a table is decoded when it is loaded
            self.table.register_forward_hook(lambda module, args, vectors: vectors * 1)

    def forward(self, words: Tensor) -> tuple[Tensor, Tensor]:
        vectors = self.table(words)
        return self.decoder(vectors + 1), vectors


@pytest.mark.parametrize("hook", [False, True], ids=["packed", "decoded"])
def test_a_table_with_padding_that_a_decoder_shares(hook: bool, tmp_path: Path) -> None:
    scheme = Scheme(granularity="tensor")
    both = pair(tmp_path, lambda: Tied(hook), LayerChoice(2, 8), WITH_PADDING, scheme)
    assert_same(both, WITH_PADDING)
    assert isinstance(both.loaded.table, PackedEmbedding) is not hook
    logits, vectors = both.loaded(WITH_PADDING)
    assert not bool(vectors[WITH_PADDING == PADDING].any())
    assert bool(logits[..., PADDING].all())


class Words(nn.Module):
    """A table that can grow."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.out = nn.Embedding(WORDS, UNITS, padding_idx=PADDING), nn.Linear(UNITS, 3)

    def forward(self, words: Tensor) -> Tensor:
        return self.out(self.table(words).sum(1))


@pytest.mark.parametrize("method", ["split", "fresh", "scratch"])
def test_the_padding_row_of_a_grown_table_stays_zero(method: str, tmp_path: Path) -> None:
    build, scheme = seeded(Words, 0), Scheme(granularity="tensor")
    task = RegressionTask(build(), WITH_PADDING)
    model, network = prepared(build(), WITH_PADDING)
    plan = plan_of(network, LayerChoice(2, 8), table=1.5)
    fake = build_candidate(
        model,
        network,
        plan,
        scheme,
        task,
        method="split" if method == "scratch" else method,
        seed=0,
        untrained=method == "scratch",
    )
    train(fake, task, Training(steps=5, lr=0.01), seed=0)
    both = saved(tmp_path, fake.eval(), network, plan, scheme, build)
    assert_same(both, WITH_PADDING)
    vectors = both.loaded.table(torch.tensor([PADDING, 1]))
    assert vectors.shape[1] > UNITS
    assert vectors.any(1).tolist() == [False, True]


@pytest.mark.parametrize("bits", [4, 8], ids="w{}".format)
def test_max_norm_is_part_of_the_table(bits: int, tmp_path: Path) -> None:
    both = embedding(tmp_path, bits, max_norm=0.7)
    assert_same(both, SOME)
    assert float(both.loaded.weight.norm(2, 1).mean()) == pytest.approx(0.7, rel=0.1)


@pytest.mark.usefixtures("undecoded")
@pytest.mark.parametrize("max_norm", [None, 1.5])
def test_only_rows_that_are_looked_up_are_decoded(
    max_norm: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = embedding(tmp_path, 4, max_norm=max_norm).loaded
    seen: list[int] = []
    unpack = weight_module.unpack_rows

    def spy(packed: Tensor, bits: int, columns: int) -> Tensor:
        seen.append(packed.shape[:-1].numel())
        return unpack(packed, bits, columns)

    monkeypatch.setattr(weight_module, "unpack_rows", spy)
    assert loaded(SOME[:1]).shape == (1, 3, UNITS)
    assert seen == [3]


@pytest.mark.parametrize("max_norm", [None, 1.5])
@pytest.mark.parametrize("shape", [(), (0,), (4,), (2, 0), (1, 2, 3)], ids=str)
def test_indices_of_any_shape(
    shape: tuple[int, ...], max_norm: float | None, tmp_path: Path
) -> None:
    both = embedding(tmp_path, 3, max_norm=max_norm)
    words = torch.randint(WORDS, shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours, theirs = both.loaded(words), both.fake(words)
    assert ours.shape == (*shape, UNITS)
    assert torch.equal(ours, theirs)


def test_indices_of_32_bits(tmp_path: Path) -> None:
    assert_same(embedding(tmp_path, 3), SOME.int())


@pytest.mark.parametrize("word", [-1, WORDS], ids="word {}".format)
def test_a_word_that_is_none_is_refused(word: int, tmp_path: Path) -> None:
    """A negative one too: it is not counted from the end."""
    both = embedding(tmp_path, 3)
    for model in (both.fake, both.loaded):
        with pytest.raises(IndexError, match="out of range"):
            model(torch.tensor([0, word]))


def test_indices_that_are_no_whole_numbers_are_refused(tmp_path: Path) -> None:
    both = embedding(tmp_path, 3)
    for words in (torch.tensor([1.0]), torch.tensor([True] * WORDS)):
        with pytest.raises(RuntimeError, match="indices"):
            both.loaded(words)


@given(
    words=st.integers(1, 40),
    units=st.integers(1, 40),
    bits=st.integers(1, 8),
    each=st.booleans(),
    seed=st.integers(0, 99),
)
def test_lookup_is_a_row_of_the_whole_table(
    words: int, units: int, bits: int, each: bool, seed: int
) -> None:
    grid = Grid.signed(bits)
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(
        grid.qmin, grid.qmax + 1, (words, units), generator=generator, dtype=torch.int8
    )
    scale = noise(words if each else 1, 1, seed=seed).abs() + 0.01
    table = PackedWeight(codes, scale, grid, bits, gates=None)
    asked = torch.randint(words, (7,), generator=generator)
    assert torch.equal(table.codes(), codes)
    assert torch.equal(table.lookup(asked), table.values()[asked])
    assert torch.equal(table.values(), (codes + grid.offset) * scale)


def test_a_table_has_no_matrix(tmp_path: Path) -> None:
    (table,) = weights_of(embedding(tmp_path, 4).loaded)
    assert table.matrix is None
