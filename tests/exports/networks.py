"""Small models of torch alone: a process that has nothing else builds them too."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Spotter(nn.Module):
    """Frames [B, T, 13] to words: two GRU layers, the last step's output."""

    def __init__(self, *, bidirectional: bool = False) -> None:
        super().__init__()
        self.rnn = nn.GRU(13, 24, 2, batch_first=True, bidirectional=bidirectional)
        self.head = nn.Linear(48 if bidirectional else 24, 10)

    def forward(self, frames: Tensor) -> Tensor:
        return self.head(self.rnn(frames)[0][:, -1])


class MeanSpotter(Spotter):
    """The same with the mean over time."""

    def forward(self, frames: Tensor) -> Tensor:
        return self.head(self.rnn(frames)[0].mean(1))


class Convolutions(nn.Module):
    """Images [B, 1, 12, 12]: a depthwise convolution, a residual, a norm that is not trivial."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.depth, self.point = nn.Conv2d(8, 8, 3, groups=8, padding=1), nn.Conv2d(8, 16, 1)
        self.head = nn.Linear(16, 10)
        with torch.no_grad():
            self.norm.running_mean.uniform_(-0.2, 0.2)
            self.norm.running_var.uniform_(0.5, 2)

    def forward(self, images: Tensor) -> Tensor:
        values = torch.relu(self.norm(self.first(images)))
        values = values + torch.relu(self.depth(values))
        return self.head(F.max_pool2d(self.point(values), 2).mean((2, 3)))


class Encoder(nn.Module):
    """Words [B, T]: embeddings, one layer of a transformer, the mean over time."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(50, 32), nn.Embedding(64, 32)
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(32, 5)

    def forward(self, words: Tensor) -> Tensor:
        places = torch.arange(words.shape[1], device=words.device)
        return self.head(self.encoder(self.words(words) + self.places(places)).mean(1))


class CellLoop(nn.Module):
    """Frames [B, 6, 13] through a GRUCell: roundings follow one another."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRUCell(13, 16), nn.Linear(16, 4)

    def forward(self, frames: Tensor) -> Tensor:
        state = frames.new_zeros(frames.shape[0], 16)
        for frame in frames.unbind(1):
            state = self.cell(frame, state)
        return self.head(state)


class ConvolutionFirst(nn.Module):
    """Frames [B, 6, T] to classes: whatever follows the convolution reads it with its bias."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Conv1d(6, 16, 3, padding=1), nn.Linear(16, 4)

    def forward(self, frames: Tensor) -> Tensor:
        return self.head(self.first(frames).transpose(1, 2))


class Tied(nn.Module):
    """Words [B, T] to scores of all words, by the table that they were looked up in."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.mix = nn.Embedding(50, 24), nn.Linear(24, 24)

    def forward(self, words: Tensor) -> Tensor:
        return F.linear(torch.tanh(self.mix(self.table(words))), self.table.weight)
