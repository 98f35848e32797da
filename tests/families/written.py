"""Models written as users write them, each small enough for a training step in a test."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

WORDS = 40


def mlp() -> nn.Module:
    return nn.Sequential(
        *(nn.Linear(12, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Dropout(0.1)),
        *(nn.Linear(24, 16), nn.LayerNorm(16), nn.GELU()),
        nn.Linear(16, 5),
    )


class WeightDrop(nn.Module):
    """A parametrization: recurrent weights are dropped in training (Merity et al. 2018)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, weight: Tensor) -> Tensor:
        return F.dropout(weight, self.p, self.training)


class AwdLstm(nn.Module):
    """A language model of weight-dropped LSTM layers, locked dropout and tied weights."""

    def __init__(self, embedding: int = 10, units: int = 14, layers: int = 3) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, embedding)
        sizes = [embedding, *[units] * (layers - 1), embedding]
        self.layers = nn.ModuleList(nn.LSTM(a, b) for a, b in pairwise(sizes))
        for layer in self.layers:
            parametrize.register_parametrization(layer, "weight_hh_l0", WeightDrop(0.2))
        self.decoder = nn.Linear(embedding, WORDS)
        self.decoder.weight = self.embedding.weight

    def forward(self, words: Tensor) -> Tensor:  # [T, B] -> [T, B, words]
        values = self.locked(self.embedding(words), 0.1)
        for layer in self.layers:
            values = self.locked(layer(values)[0], 0.25)
        return self.decoder(values)

    def locked(self, values: Tensor, p: float) -> Tensor:
        """One mask for all time steps."""
        if not self.training:
            return values
        mask = values.new_empty(1, *values.shape[1:]).bernoulli_(1 - p) / (1 - p)
        return values * mask


class Seq2Seq(nn.Module):
    """A GRU encoder, and a GRU cell that attends to it at each time step (Bahdanau et al. 2015)."""

    def __init__(self, embedding: int = 8, units: int = 12) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(WORDS, embedding), nn.Embedding(WORDS, embedding)
        self.encoder = nn.GRU(embedding, units, bidirectional=True, batch_first=True)
        self.bridge = nn.Linear(2 * units, units)
        self.cell = nn.GRUCell(embedding + 2 * units, units)
        self.keys, self.query = nn.Linear(2 * units, units), nn.Linear(units, units)
        self.energy = nn.Linear(units, 1)
        self.out = nn.Linear(3 * units, WORDS)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        memory, last = self.encoder(self.source(source))
        state = torch.tanh(self.bridge(torch.cat([last[0], last[1]], -1)))
        keys, outputs = self.keys(memory), []
        for word in self.target(target).unbind(1):
            energy = self.energy(torch.tanh(keys + self.query(state)[:, None]))
            context = (torch.softmax(energy, 1) * memory).sum(1)
            state = self.cell(torch.cat([word, context], -1), state)
            outputs.append(self.out(torch.cat([state, context], -1)))
        return torch.stack(outputs, 1)


class UNet(nn.Module):
    """Two halvings and two doublings of the resolution, with skip connections between them."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.enter = _double(3, width)
        self.down = nn.ModuleList([_double(width, 2 * width), _double(2 * width, 4 * width)])
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(n * width, n * width // 2, 2, stride=2) for n in (4, 2)
        )
        self.merge = nn.ModuleList([_double(4 * width, 2 * width), _double(2 * width, width)])
        self.out = nn.Conv2d(width, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        kept = [self.enter(image)]
        for down in self.down:
            kept.append(down(F.max_pool2d(kept[-1], 2)))
        values = kept.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            values = merge(torch.cat([kept.pop(), up(values)], 1))
        return self.out(values)


def _double(features: int, units: int) -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(features, units, 3, padding=1), nn.BatchNorm2d(units), nn.ReLU()),
        *(nn.Conv2d(units, units, 3, padding=1), nn.GroupNorm(2, units), nn.ReLU()),
    )


class DenseNet(nn.Module):
    """Each layer reads the outputs of all layers before it (Huang et al. 2017)."""

    def __init__(self, growth: int = 4, layers: int = 3) -> None:
        super().__init__()
        width = 2 * growth
        self.enter = nn.Conv2d(3, width, 3, padding=1)
        self.layers = nn.ModuleList()
        for _ in range(layers):
            conv = nn.Conv2d(width, growth, 3, padding=1, bias=False)
            self.layers.append(nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), conv))
            width += growth
        self.norm = nn.BatchNorm2d(width)
        self.out = nn.Linear(width, 5)

    def forward(self, image: Tensor) -> Tensor:
        values = self.enter(image)
        for layer in self.layers:
            values = torch.cat([values, layer(values)], 1)
        return self.out(F.adaptive_avg_pool2d(torch.relu(self.norm(values)), 1).flatten(1))


class Inverted(nn.Module):
    """An inverted residual block (Sandler et al. 2018) with squeeze and excitation."""

    def __init__(self, features: int, units: int, stride: int, expansion: int = 3) -> None:
        super().__init__()
        wide = features * expansion
        self.expand = nn.Sequential(
            nn.Conv2d(features, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6()
        )
        self.depth = nn.Sequential(
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.Hardswish(),
        )
        self.squeeze, self.excite = nn.Conv2d(wide, wide // 4, 1), nn.Conv2d(wide // 4, wide, 1)
        self.project = nn.Sequential(nn.Conv2d(wide, units, 1, bias=False), nn.BatchNorm2d(units))
        self.around = stride == 1 and features == units

    def forward(self, values: Tensor) -> Tensor:
        inner = self.depth(self.expand(values))
        gate = self.excite(torch.relu(self.squeeze(inner.mean((2, 3), keepdim=True))))
        inner = self.project(inner * torch.sigmoid(gate))
        return values + inner if self.around else inner


def mobile_net(widths: Sequence[int] = (8, 8, 12)) -> nn.Module:
    blocks = [Inverted(a, b, stride=1 if a == b else 2) for a, b in pairwise((8, *widths))]
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6()),
        *blocks,
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(widths[-1], 5)),
    )


class KeywordSpotter(nn.Module):
    """Depthwise-separable convolutions over a spectrogram (Zhang et al. 2017)."""

    def __init__(self, width: int = 10, layers: int = 2) -> None:
        super().__init__()
        self.enter = nn.Conv2d(1, width, (5, 3), stride=2, padding=(2, 1))
        self.norm = nn.BatchNorm2d(width)
        self.depth = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=1, groups=width) for _ in range(layers)
        )
        self.point = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(layers))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(2 * layers))
        self.out = nn.Linear(width, 6)

    def forward(self, frames: Tensor) -> Tensor:  # [B, T, F]
        values = torch.relu(self.norm(self.enter(frames[:, None])))
        norms = iter(self.norms)
        for depth, point in zip(self.depth, self.point, strict=True):
            values = torch.relu(next(norms)(depth(values)))
            values = torch.relu(next(norms)(point(values)))
        return self.out(F.avg_pool2d(values, values.shape[2:]).flatten(1))


class Transformer(nn.Module):
    """Tokens, learned positions, nn.TransformerEncoderLayer, the first token's class."""

    def __init__(self, width: int = 16, layers: int = 2) -> None:
        super().__init__()
        self.tokens = nn.Embedding(WORDS, width)
        self.positions = nn.Parameter(0.1 * torch.randn(32, width))
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.out = nn.Linear(width, 4)

    def forward(self, words: Tensor) -> Tensor:
        values = self.tokens(words) + self.positions[: words.shape[1]]
        return self.out(self.encoder(values, src_key_padding_mask=words == 0)[:, 0])


class Loop(nn.Module):
    """A GRU cell in a Python loop over time."""

    def __init__(self, features: int = 6, units: int = 10) -> None:
        super().__init__()
        self.enter, self.cell, self.out = (
            nn.Linear(features, 8),
            nn.GRUCell(8, units),
            nn.Linear(units, 3),
        )

    def forward(self, frames: Tensor) -> Tensor:  # [B, T, F]
        state = None
        for frame in frames.unbind(1):
            state = self.cell(torch.relu(self.enter(frame)), state)
        return self.out(state)
