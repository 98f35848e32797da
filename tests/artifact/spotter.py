"""A keyword spotter: many small layers and batch norms, as BC-ResNet (Kim et al. 2021) has them."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SubSpectralNorm(nn.Module):
    """A batch norm with statistics of its own for each band of frequencies."""

    def __init__(self, channels: int, bands: int) -> None:
        super().__init__()
        self.bands = bands
        self.norm = nn.BatchNorm2d(channels * bands)

    def forward(self, values: Tensor) -> Tensor:  # [B, C, F, T]
        batch, channels, bins, steps = values.shape
        split = values.view(batch, channels * self.bands, bins // self.bands, steps)
        return self.norm(split).view(batch, channels, bins, steps)


class Block(nn.Module):
    """A convolution along frequencies, and one along time of their mean, which is added to all."""

    def __init__(self, before: int, channels: int, bands: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, channels, 1, bias=False) if before != channels else None
        self.frequency = nn.Conv2d(channels, channels, (3, 1), 1, (1, 0), 1, channels, bias=False)
        self.norm = SubSpectralNorm(channels, bands)
        self.time = nn.Conv2d(channels, channels, (1, 3), 1, (0, 1), 1, channels, bias=False)
        self.time_norm = nn.BatchNorm2d(channels)
        self.mix = nn.Conv2d(channels, channels, 1)

    def forward(self, values: Tensor) -> Tensor:
        values = values if self.first is None else self.first(values)
        two = self.norm(self.frequency(values))
        one = self.time_norm(self.time(two.mean(2, keepdim=True)))
        return torch.relu(values + two + self.mix(torch.nn.functional.silu(one)))


class Spotter(nn.Module):
    """Spectra [B, 1, 20, T] to scores of 12 words."""

    def __init__(self, widths: tuple[int, ...] = (26,) * 7, bands: int = 5) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, widths[0], 5, (2, 1), 2, bias=False)
        self.stem_norm = nn.BatchNorm2d(widths[0])
        pairs = zip((widths[0], *widths), widths, strict=False)
        self.blocks = nn.Sequential(*(Block(a, b, bands) for a, b in pairs))
        self.head = nn.Conv2d(widths[-1], 12, 1)

    def forward(self, spectra: Tensor) -> Tensor:
        values = torch.relu(self.stem_norm(self.stem(spectra)))
        return self.head(self.blocks(values).mean((2, 3), keepdim=True)).flatten(1)


def spectra() -> Tensor:
    """Inputs of the spotter."""
    return torch.randn(4, 1, 20, 16, generator=torch.Generator().manual_seed(0))
