"""Units through torch's own modules and functions: they grow, or the reason is true.

``describe`` runs each model again with units added: a group that is free has kept the function.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autoquant.graph.describe import describe
from autoquant.graph.prepare import prepare

UNITS = 8
ACROSS = "is read across its units by"


class Between(nn.Module):
    """A module or a function between two layers of single positions.

    Args:
        inner: what is between.
        dims: axes behind the channels; 0 for [B, units].
        factor: units that the last layer reads, over those of the first.
    """

    def __init__(self, inner: Callable[..., Any], dims: int, factor: float) -> None:
        super().__init__()
        layer: Any = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims]
        kernel = () if dims == 0 else (1,)
        self.first = layer(3, UNITS, *kernel)
        self.inner = inner
        self.last = layer(int(UNITS * factor), 2, *kernel)

    def forward(self, x: Tensor) -> Tensor:
        values = self.inner(self.first(x))
        return self.last(values[0] if isinstance(values, tuple) else values)


def why_fixed(inner: Callable[..., Any], dims: int = 0, factor: float = 1) -> str | None:
    torch.manual_seed(0)
    model = prepare(Between(inner, dims, factor).eval()).eval()
    x = torch.randn(2, 3, *(8,) * dims) if dims else torch.randn(4, 3)
    return describe(model, (x,)).why_fixed("first")


# --- activations ----------------------------------------------------------------------------------

ARGUMENTS: dict[str, dict[str, Any]] = {
    "Threshold": {"threshold": 0.1, "value": 2.0},
    "GLU": {"dim": 1},
    "Softmax": {"dim": 0},
    "Softmin": {"dim": 0},
    "LogSoftmax": {"dim": 0},
}
NOT_ACTIVATIONS = ("MultiheadAttention", "Softmax2d")
ACTIVATIONS = [n for n in nn.modules.activation.__all__ if n not in NOT_ACTIVATIONS]
IN_PLACE = (
    *("ReLU", "ReLU6", "ELU", "CELU", "SELU", "LeakyReLU", "Hardtanh", "Hardsigmoid"),
    *("Hardswish", "SiLU", "Mish", "RReLU", "Threshold"),
)


@pytest.mark.parametrize("dims", [0, 2], ids=["linear", "conv"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_units_go_through_every_activation(name: str, dims: int) -> None:
    module = getattr(nn, name)(**ARGUMENTS.get(name, {}))
    assert why_fixed(module, dims, 0.5 if name == "GLU" else 1) is None


@pytest.mark.parametrize("name", IN_PLACE)
def test_units_go_through_activations_in_place(name: str) -> None:
    assert why_fixed(getattr(nn, name)(inplace=True, **ARGUMENTS.get(name, {})), 2) is None


@pytest.mark.parametrize("dims", [0, 2], ids=["linear", "conv"])
def test_a_prelu_of_each_channel_grows_with_it(dims: int) -> None:
    assert why_fixed(nn.PReLU(UNITS), dims) is None


def test_slopes_that_the_model_holds_itself_cannot_grow() -> None:
    slopes = torch.linspace(0.1, 0.9, UNITS)
    reason = why_fixed(lambda x: F.prelu(x, slopes))
    assert reason is not None
    assert reason.startswith("is combined by 'prelu_kernel' (test_modules.py:")


# --- images ---------------------------------------------------------------------------------------


def unpooled(dims: int) -> Callable[[Tensor], Tensor]:
    pool: Any = getattr(nn, f"MaxPool{dims}d")(2, return_indices=True)
    unpool: Any = getattr(nn, f"MaxUnpool{dims}d")(2)
    return lambda x: unpool(*pool(x))


POOLINGS = ("MaxPool", "AvgPool", "AdaptiveAvgPool", "AdaptiveMaxPool", "LPPool")
PADDINGS = ("ConstantPad", "ZeroPad", "ReflectionPad", "ReplicationPad", "CircularPad")
MODES = {1: ("linear",), 2: ("bilinear", "bicubic"), 3: ("trilinear",)}


@pytest.mark.parametrize("dims", [1, 2, 3], ids="{}d".format)
@pytest.mark.parametrize("name", POOLINGS)
def test_units_go_through_every_pooling(name: str, dims: int) -> None:
    arguments = (2, 2) if name == "LPPool" else (2,)
    assert why_fixed(getattr(nn, f"{name}{dims}d")(*arguments), dims) is None


@pytest.mark.parametrize("dims", [1, 2, 3], ids="{}d".format)
def test_units_go_through_unpooling(dims: int) -> None:
    assert why_fixed(unpooled(dims), dims) is None


@pytest.mark.parametrize("dims", [1, 2, 3], ids="{}d".format)
@pytest.mark.parametrize("name", PADDINGS)
def test_units_go_through_every_padding(name: str, dims: int) -> None:
    arguments = (1, 0.5) if name == "ConstantPad" else (1,)
    assert why_fixed(getattr(nn, f"{name}{dims}d")(*arguments), dims) is None


@pytest.mark.parametrize(
    ("dims", "mode"),
    [(d, m) for d in MODES for m in (*MODES[d], "nearest", "nearest-exact", "area")],
)
def test_units_go_through_every_upsampling(dims: int, mode: str) -> None:
    assert why_fixed(lambda x: F.interpolate(x, scale_factor=2, mode=mode), dims) is None


def blurred(x: Tensor) -> Tensor:
    return F.conv2d(x, torch.full((x.shape[1], 1, 3, 3), 1 / 9), padding=1, groups=x.shape[1])


MOVED = {
    "PixelShuffle": (nn.PixelShuffle(2), 0.25),
    "PixelUnshuffle": (nn.PixelUnshuffle(2), 4),
    "unfold and fold": (
        lambda x: F.fold(F.unfold(x, 2, stride=2), x.shape[2:], 2, stride=2),
        1,
    ),
    "blur": (blurred, 1),
    "batch norm without parameters": (lambda x: F.batch_norm(x, None, None, training=True), 1),
    "Dropout2d": (nn.Dropout2d(0.3), 1),
    "part written": (lambda x: written(x, x), 1),
    "edges written": (lambda x: torch.zeros_like(x).index_copy(3, torch.arange(8), x), 1),
}


def written(into: Tensor, x: Tensor) -> Tensor:
    result = into.clone()
    result[:, : x.shape[1] // 2, 1:-1] = x[:, : x.shape[1] // 2, 1:-1]
    return result


@pytest.mark.parametrize("name", MOVED)
def test_units_go_through_what_moves_positions(name: str) -> None:
    inner, factor = MOVED[name]
    assert why_fixed(inner, 2, factor) is None


# --- functions ------------------------------------------------------------------------------------

ROWS = torch.tensor([0, 0, 1, 3])
FREE: dict[str, Callable[[Tensor], Any]] = {
    "where": lambda x: torch.where(x > 0, x, 0.0),
    "masked_fill": lambda x: x.masked_fill(ROWS[:, None] > 0, 0.0),
    "masked_fill in place": lambda x: x.clone().masked_fill_(x > 1, 0.0),
    "cumsum": lambda x: x.cumsum(0),
    "logcumsumexp": lambda x: x.logcumsumexp(0),
    "cummax": lambda x: x.cummax(0),
    "sort": lambda x: x.sort(0),
    "topk": lambda x: x.topk(2, 0),
    "kthvalue": lambda x: x - x.kthvalue(2, 0, keepdim=True)[0],
    "nanmean": lambda x: x - x.nanmean(0, keepdim=True),
    "aminmax": lambda x: x - torch.aminmax(x, dim=0, keepdim=True)[0],
    "einsum": lambda x: torch.einsum("bc,bd->bcd", x, torch.ones(4, 2))[..., 0],
    "embedding": lambda x: F.embedding(ROWS, x),
    "embedding_bag": lambda x: F.embedding_bag(ROWS.view(4, 1), x),
    "one_hot": lambda x: F.one_hot(ROWS, 4).float() @ x,
    "addmm": lambda x: torch.addmm(x, torch.ones(4, 4), x),
    "complex": lambda x: torch.complex(x, x).abs(),
    "conj_physical": lambda x: torch.complex(x, x).conj_physical().abs(),
    "view_as_real": lambda x: torch.view_as_real(torch.complex(x, x))[..., 0],
    "fft": lambda x: torch.fft.irfft(torch.fft.rfft(x, dim=0), n=4, dim=0),
    "gather": lambda x: x.gather(0, x.argsort(0)),
    "index_add": lambda x: torch.zeros_like(x).index_add(0, ROWS, x),
    "index_add in place": lambda x: x.new_zeros(4, x.shape[1]).index_add_(0, ROWS, x),
    "index_fill": lambda x: x.index_fill(0, ROWS, 0.0),
    "index_put": lambda x: torch.zeros_like(x).index_put((ROWS,), x, accumulate=True),
    "scatter_add": lambda x: torch.zeros_like(x).scatter_add(0, ROWS[:, None].expand_as(x), x),
    "scatter_reduce": lambda x: x.new_zeros(4, x.shape[1]).scatter_reduce_(
        0, ROWS[:, None].expand_as(x), x, "amax", include_self=False
    ),
    "index_reduce": lambda x: torch.zeros_like(x).index_reduce(0, ROWS, x, "mean"),
    "segment_reduce": lambda x: torch.segment_reduce(x, "sum", lengths=torch.tensor([1, 3])),
    "sparse product": lambda x: torch.sparse.mm(torch.eye(4).to_sparse(), x),
    "data": lambda x: x.data * 2,
    "alpha dropout": lambda x: F.alpha_dropout(x, 0.3, False),
}


@pytest.mark.parametrize("name", FREE)
def test_units_go_through_functions(name: str) -> None:
    assert why_fixed(FREE[name]) is None


FROZEN: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "Softmax2d": (lambda x: x.softmax(-1), f"{ACROSS} 'softmax'"),
    "cumsum": (lambda x: x.cumsum(-1), f"{ACROSS} 'cumsum'"),
    "topk": (lambda x: x.topk(UNITS)[0], f"{ACROSS} 'topk'"),
    "fft": (lambda x: torch.fft.fft(x).real, f"{ACROSS} 'fft_r2c'"),
    "index_add": (
        lambda x: torch.zeros_like(x).index_add(1, torch.arange(UNITS), x),
        "is read by 'index_add'",
    ),
    "batch norm": (
        lambda x: F.batch_norm(x, torch.zeros(UNITS), torch.ones(UNITS)),
        "is combined by 'native_batch_norm'",
    ),
    "shuffle": (
        lambda x: F.channel_shuffle(x[:, :, None, None], 2)[:, :, 0, 0],
        "its units are read in a mixed order",
    ),
    "half written": (
        lambda x: half_written(x),
        "is written by 'copy'",
    ),
}


def half_written(x: Tensor) -> Tensor:
    result = torch.zeros(4, UNITS)
    result[:, :4], result[:, 4:] = x[:, :4], x[:, 4:]
    return result


@pytest.mark.parametrize("name", FROZEN)
def test_what_reads_across_units_names_the_line(name: str) -> None:
    inner, reason = FROZEN[name]
    found = why_fixed(inner)
    assert found is not None
    assert found.startswith(reason)
    assert "mixed order" in reason or "(test_modules.py:" in found
