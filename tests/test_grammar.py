"""Random models of a grammar of layers and connections: they grow, pack and reload as any other."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from tests.families.cycle import Cycle

WORDS, FRAME, CHANNELS = 11, 5, 3  # sizes of tokens, frames and images
WIDTHS = (1.0, 1.2, 1.5, 2.0, 3.0)
ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh, "gelu": F.gelu, "silu": F.silu}

# --- sentences: a part [B, T, C] -> [B, T, C'] ----------------------------------------------------


class Dense(nn.Module):
    """A linear layer and an activation, with or without the way around it."""

    def __init__(self, width: int, new: int, activation: str, *, around: bool) -> None:
        super().__init__()
        self.width = width if around else new
        self.linear = nn.Linear(width, self.width)
        self.activation, self.around = ACTIVATIONS[activation], around

    def forward(self, x: Tensor) -> Tensor:
        y = self.activation(self.linear(x))
        return x + y if self.around else y


class Block(nn.Module):
    """x + B(act(A(norm(x)))), as in a Transformer."""

    def __init__(self, width: int, new: int, activation: str) -> None:
        super().__init__()
        self.width, self.activation = width, ACTIVATIONS[activation]
        self.norm, self.up, self.down = (
            nn.LayerNorm(width),
            nn.Linear(width, new),
            nn.Linear(new, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(self.activation(self.up(self.norm(x))))


class Attend(nn.Module):
    """Self-attention and the way around it; maybe causal, maybe with weights."""

    def __init__(self, heads: int, width: int, *, weights: bool, causal: bool) -> None:
        super().__init__()
        self.width = heads * 4
        self.enter = nn.Linear(width, self.width)
        self.attention = nn.MultiheadAttention(self.width, heads, batch_first=True)
        self.weights, self.causal = weights, causal

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1) if self.causal else None
        return x + self.attention(x, x, x, need_weights=self.weights, attn_mask=mask)[0]


class Recur(nn.Module):
    """A stack of LSTM or GRU layers."""

    def __init__(self, kind: str, width: int, new: int, layers: int, *, both: bool) -> None:
        super().__init__()
        self.width = new * 2 if both else new
        self.rnn = getattr(nn, kind)(width, new, layers, bidirectional=both, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x)[0]


class Loop(nn.Module):
    """A cell that the model itself calls at each step."""

    def __init__(self, kind: str, width: int, new: int) -> None:
        super().__init__()
        self.width, self.long = new, kind == "LSTMCell"
        self.cell = getattr(nn, kind)(width, new)

    def forward(self, x: Tensor) -> Tensor:
        h = c = x.new_zeros(len(x), self.width)
        steps = []
        for each in x.unbind(1):
            if self.long:
                h, c = self.cell(each, (h, c))
            else:
                h = self.cell(each, h)
            steps.append(h)
        return torch.stack(steps, 1)


class Gate(nn.Module):
    """A gated linear unit, by F.glu or by hand."""

    def __init__(self, width: int, new: int, *, by_hand: bool) -> None:
        super().__init__()
        self.width, self.by_hand = new, by_hand
        self.linear = nn.Linear(width, 2 * new)

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        if not self.by_hand:
            return F.glu(y, -1)
        value, gate = y.chunk(2, -1)
        return value * torch.sigmoid(gate)


class Join(nn.Module):
    """What came, and what a layer makes of it, behind one another."""

    def __init__(self, width: int, new: int) -> None:
        super().__init__()
        self.width = width + new
        self.linear = nn.Linear(width, new)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, torch.tanh(self.linear(x))], -1)


class Temporal(nn.Module):
    """Convolution over time, maybe transposed, in groups that widen or narrow, and a norm."""

    def __init__(
        self, kind: str, width: int, before: int, after: int, groups: int, norm: str
    ) -> None:
        super().__init__()
        inner, self.width = groups * before, groups * after
        self.enter = nn.Conv1d(width, inner, 1)
        self.conv = getattr(nn, kind)(inner, self.width, 3, padding=1, groups=groups)
        self.norm = NORMS[norm](self.width, groups)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.enter(x.transpose(1, 2)))
        return torch.relu(self.norm(self.conv(y))).transpose(1, 2)


class Normal(nn.Module):
    """A LayerNorm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width, self.norm = width, nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)


NORMS: dict[str, Callable[[int, int], nn.Module]] = {
    "batch": lambda width, groups: nn.BatchNorm1d(width),
    "group": lambda width, groups: nn.GroupNorm(groups, width),
    "none": lambda width, groups: nn.Identity(),
}

# --- images: a part [B, C, H, W] -> [B, C', H, W] -------------------------------------------------


class Convolve(nn.Module):
    """Convolution, norm, activation; around, joined to what came, or neither."""

    def __init__(self, width: int, new: int, groups: int, norm: str, way: str) -> None:
        super().__init__()
        inner = width if way == "around" else new * groups
        groups = groups if width % groups == 0 and inner % groups == 0 else 1
        self.way, self.width = way, inner + width if way == "join" else inner
        self.conv = nn.Conv2d(width, inner, 3, padding=1, groups=groups, bias=norm == "none")
        self.norm = {
            "batch": lambda: nn.BatchNorm2d(inner),
            "group": lambda: nn.GroupNorm(1 if inner % 2 else 2, inner),
            "none": nn.Identity,
        }[norm]()

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm(self.conv(x)))
        if self.way == "join":
            return torch.cat([x, y], 1)
        return x + y if self.way == "around" else y


class Separable(nn.Module):
    """A depthwise convolution and one of single pixels."""

    def __init__(self, width: int, new: int, times: int) -> None:
        super().__init__()
        self.width = new
        self.depth = nn.Conv2d(width, width * times, 3, padding=1, groups=width)
        self.norm = nn.BatchNorm2d(width * times)
        self.point = nn.Conv2d(width * times, new, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.point(torch.relu(self.norm(self.depth(x)))))


# --- whole models ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recipe:
    """What a model is built from; prints as what hypothesis found.

    Attributes:
        front: "tokens", "frames" or "image".
        parts: class, sizes and options of each part.
        end: how its result is read: "each", "last", "mean", "tied", "flat", "pool".
    """

    front: str
    width: int
    parts: tuple[tuple[type[Any], dict[str, Any]], ...]
    end: str
    seed: int

    def build(self) -> nn.Module:
        torch.manual_seed(self.seed)
        return Model(self)

    def inputs(self) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        if self.front == "tokens":
            return torch.randint(0, WORDS, (3, 5), generator=generator)
        shape = (3, 5, FRAME) if self.front == "frames" else (3, CHANNELS, 6, 6)
        return torch.randn(shape, generator=generator)


class Model(nn.Module):
    """A front, parts one after the other, an end."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.end, width = recipe.end, recipe.width
        self.front: nn.Module = {
            "tokens": lambda: nn.Embedding(WORDS, width),
            "frames": lambda: nn.Linear(FRAME, width),
            "image": lambda: nn.Conv2d(CHANNELS, width, 3, padding=1),
        }[recipe.front]()
        self.parts = nn.ModuleList()
        for kind, options in recipe.parts:
            self.parts.append(kind(width=width, **options))
            width = self.parts[-1].width
        if self.end == "tied":
            self.project = nn.Linear(width, recipe.width)
            self.last = nn.Linear(recipe.width, WORDS)
            self.last.weight = self.front.weight
        else:
            self.last = nn.Linear(width * 9 if self.end == "flat" else width, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        for part in self.parts:
            x = part(x)
        return self.last(ENDS[self.end](self, x))


ENDS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "each": lambda model, x: x,
    "last": lambda model, x: x[:, -1],
    "mean": lambda model, x: x.mean(1),
    "tied": lambda model, x: model.project(x),
    "flat": lambda model, x: F.max_pool2d(x, 2).flatten(1),
    "pool": lambda model, x: x.mean((2, 3)),
}


def part(made: type[Any], /, **options: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A part with options drawn."""
    return st.tuples(st.just(made), st.fixed_dictionaries(options))


new, groups, yes = st.integers(3, 8), st.integers(1, 4), st.booleans()
activation, norms = st.sampled_from(sorted(ACTIVATIONS)), st.sampled_from(sorted(NORMS))
few, convs = st.integers(1, 3), st.sampled_from(["Conv1d", "ConvTranspose1d"])
stacks, cells = st.sampled_from(["LSTM", "GRU"]), st.sampled_from(["LSTMCell", "GRUCell"])
ways = st.sampled_from(["on", "around", "join"])
ON_SEQUENCES = st.one_of(
    part(Dense, new=new, activation=activation, around=yes),
    part(Block, new=new, activation=activation),
    part(Attend, heads=st.integers(1, 3), weights=yes, causal=yes),
    part(Recur, kind=stacks, new=new, layers=st.integers(1, 2), both=yes),
    part(Loop, kind=cells, new=new),
    part(Gate, new=new, by_hand=yes),
    part(Join, new=new),
    part(Temporal, kind=convs, before=few, after=few, groups=groups, norm=norms),
    part(Normal),
)
ON_IMAGES = st.one_of(
    part(Convolve, new=new, groups=groups, norm=norms, way=ways),
    part(Separable, new=new, times=st.integers(1, 2)),
)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    front = draw(st.sampled_from(["tokens", "frames", "image"]))
    parts = draw(st.lists(ON_IMAGES if front == "image" else ON_SEQUENCES, min_size=1, max_size=4))
    ends = {"image": ["flat", "pool"], "tokens": ["each", "last", "mean", "tied"]}
    end = draw(st.sampled_from(ends.get(front, ["each", "last", "mean"])))
    return Recipe(front, draw(st.integers(2, 8)), tuple(parts), end, draw(st.integers(0, 99)))


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(recipe=recipes(), method=st.sampled_from(["split", "fresh"]), data=st.data())
def test_any_model_grows_packs_and_reloads(
    recipe: Recipe, method: str, data: st.DataObject
) -> None:
    cycle = Cycle(recipe.build, (recipe.inputs(),))
    cycle.check_prepared()
    cycle.profile()
    widths = {group: data.draw(st.sampled_from(WIDTHS), group) for group in cycle.free}
    plan = cycle.mixed(widths, data.draw(st.integers(0, 999), "bits"))
    with tempfile.TemporaryDirectory() as folder:
        cycle.check_packed(plan, Path(folder), method)
