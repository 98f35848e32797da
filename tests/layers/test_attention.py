"""``Attention`` against nn.MultiheadAttention."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autoquant.graph.describe import describe
from autoquant.graph.equivalence import check_same_function
from autoquant.graph.prepare import prepare
from autoquant.graph.widen import WideningRequest, widen
from autoquant.layers.attention import Attention
from autoquant.plan import LayerChoice, Plan
from autoquant.settings import Scheme

BATCH, TARGET, SOURCE, WIDTH, HEADS = 3, 5, 7, 12, 3
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "batch first": {"batch_first": True},
    "no bias": {"bias": False},
    "other keys": {"kdim": 6},
    "other keys and values": {"kdim": 6, "vdim": 8, "batch_first": True},
    "other values, no bias": {"vdim": 8, "bias": False},
}


def pair(**options: Any) -> tuple[nn.MultiheadAttention, Attention]:
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(WIDTH, HEADS, **options).eval()
    if theirs.in_proj_bias is not None:
        nn.init.normal_(theirs.in_proj_bias)  # it starts at zero
        nn.init.normal_(theirs.out_proj.bias)
    ours = prepare(theirs)
    assert isinstance(ours, Attention)
    return theirs, ours.eval()


def values(module: nn.MultiheadAttention, *, single: bool = False) -> tuple[Tensor, ...]:
    torch.manual_seed(1)
    shapes = ((TARGET, WIDTH), (SOURCE, module.kdim), (SOURCE, module.vdim))
    if single:
        return tuple(torch.randn(shape) for shape in shapes)
    if module.batch_first:
        return tuple(torch.randn(BATCH, *shape) for shape in shapes)
    return tuple(torch.randn(length, BATCH, width) for length, width in shapes)


def check(theirs: nn.Module, ours: nn.Module, *given: Tensor, **options: Any) -> None:
    """Output and weights; sums of float32 in another order."""
    with torch.no_grad():
        expected, result = theirs(*given, **options), ours(*given, **options)
    assert (expected[1] is None) == (result[1] is None)
    for one, other in zip(result, expected, strict=True):
        if other is not None:
            torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("need_weights", [True, False], ids=["weights", "no weights"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("single", [False, True], ids=["batch", "single"])
def test_same_function(options: dict[str, Any], need_weights: bool, single: bool) -> None:
    theirs, ours = pair(**options)
    check(theirs, ours, *values(theirs, single=single), need_weights=need_weights)


def test_weights_of_each_head() -> None:
    theirs, ours = pair(batch_first=True)
    check(theirs, ours, *values(theirs), average_attn_weights=False)
    check(theirs, ours, *values(theirs, single=True), average_attn_weights=False)


hidden = torch.ones(TARGET, SOURCE, dtype=torch.bool).triu(2)
padding = torch.arange(SOURCE)[None] >= torch.tensor([[7], [4], [2]])
generator = torch.Generator().manual_seed(2)
MASKS: dict[str, dict[str, Tensor]] = {
    "bool": {"attn_mask": hidden},
    "float": {"attn_mask": torch.randn(TARGET, SOURCE, generator=generator)},
    "each head": {
        "attn_mask": torch.randn(BATCH * HEADS, TARGET, SOURCE, generator=generator)
    },
    "padding": {"key_padding_mask": padding},
    "float padding": {"key_padding_mask": torch.zeros(BATCH, SOURCE).masked_fill(padding, -1e4)},
    "both": {"attn_mask": hidden, "key_padding_mask": padding},
    "float and bool": {
        "attn_mask": torch.randn(TARGET, SOURCE, generator=generator),
        "key_padding_mask": padding,
    },
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")
@pytest.mark.parametrize("need_weights", [True, False], ids=["weights", "no weights"])
@pytest.mark.parametrize("batch_first", [True, False], ids=["batch first", "time first"])
@pytest.mark.parametrize("masks", MASKS.values(), ids=MASKS)
def test_masks(masks: dict[str, Tensor], batch_first: bool, need_weights: bool) -> None:
    theirs, ours = pair(batch_first=batch_first)
    check(theirs, ours, *values(theirs), need_weights=need_weights, **masks)


@pytest.mark.parametrize("need_weights", [True, False], ids=["weights", "no weights"])
def test_masks_of_a_single_sequence(need_weights: bool) -> None:
    theirs, ours = pair()
    given = values(theirs, single=True)
    check(theirs, ours, *given, need_weights=need_weights, attn_mask=hidden)
    check(theirs, ours, *given, need_weights=need_weights, key_padding_mask=padding[1])


def test_causal_by_name() -> None:
    theirs, ours = pair(batch_first=True)
    x = values(theirs)[0]
    mask = nn.Transformer.generate_square_subsequent_mask(TARGET)
    for need_weights in (True, False):
        check(theirs, ours, x, x, x, attn_mask=mask, is_causal=True, need_weights=need_weights)


def test_dropout_only_in_training() -> None:
    theirs, ours = pair(dropout=0.5, batch_first=True)
    given = values(theirs)
    check(theirs, ours, *given)
    ours.train()
    assert not torch.equal(ours(*given)[0], ours(*given)[0])


@pytest.mark.parametrize("options", [{"add_bias_kv": True}, {"add_zero_attn": True}], ids=str)
def test_what_it_does_not_know_stays(options: dict[str, Any]) -> None:
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.MultiheadAttention(WIDTH, HEADS, **options))
    assert isinstance(prepare(model)[1], nn.MultiheadAttention)


class Around(nn.Module):
    """Attention over a memory, as a Transformer's decoder has it."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.last = nn.Linear(WIDTH, 2)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        return self.last(self.attention(x, memory, memory, need_weights=False)[0])


def test_heads_are_units() -> None:
    torch.manual_seed(0)
    model = prepare(Around()).eval()
    inputs = torch.randn(BATCH, TARGET, WIDTH), torch.randn(BATCH, SOURCE, WIDTH)
    network = describe(model, inputs)
    names = [f"attention.{name}_proj" for name in "qkv"]
    assert {network.groups[name] for name in names} == {"attention.q_proj"}
    (segment,) = network.inputs["attention.out_proj"]
    assert (segment.size, segment.run) == (HEADS, WIDTH // HEADS)
    wider = {name: LayerChoice(width=5 / 3 if name in names else 1.0) for name in network.names}
    grown, _ = widen(model, network, WideningRequest(Plan(wider), Scheme(), "split", 0))
    assert grown.attention.q_proj.out_features == 5 * WIDTH // HEADS
    assert check_same_function(model, grown, inputs) < 1e-5


@pytest.mark.parametrize("norm_first", [True, False], ids=["norm first", "norm last"])
def test_torchs_encoder_does_not_go_around_it(norm_first: bool) -> None:
    """Its fused path reads the weights of nn.MultiheadAttention by name."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 8, batch_first=True, norm_first=norm_first)
    theirs = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    x = torch.randn(BATCH, SOURCE, WIDTH)
    with torch.no_grad():
        result = prepare(theirs).eval()(x, src_key_padding_mask=padding)
        expected = theirs(x, src_key_padding_mask=padding)
    kept = ~padding
    torch.testing.assert_close(result[kept], expected[kept], atol=1e-5, rtol=1e-5)
