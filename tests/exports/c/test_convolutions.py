"""Convolutions in C compute what aq.load computes, with integers where they can."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.exports.c.exported import (
    TOLERANCE,
    choice_of,
    exported,
    mostly_slow,
    source_of,
    whole_difference,
)
from tests.runtime.pairs import noise


class Image(nn.Module):
    """Convolutions of several kinds; the last one is wide enough for sums of many codes."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(2, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.b = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8)
        self.c = nn.Conv2d(8, 6, (3, 1), padding=(2, 0), dilation=(2, 1), groups=2)
        self.after = nn.BatchNorm2d(6)
        self.d = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.a(x)))
        x = nn.functional.max_pool2d(torch.relu(self.b(x)), 2)
        x = self.after(torch.tanh(self.c(x)))
        return self.d(x.mean((2, 3)))


class Sound(nn.Module):
    """Convolutions along time."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv1d(3, 6, 5, stride=2, padding=3)
        self.b = nn.Conv1d(6, 6, 3, groups=6, dilation=2)
        self.c = nn.Conv1d(6, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(torch.relu(self.b(torch.relu(self.a(x))))).amax(2)


SHAPES = {"image": (Image, (3, 2, 9, 8)), "sound": (Sound, (3, 3, 30))}


def normed(build: Callable[[], nn.Module]) -> nn.Module:
    """A model whose normalizations have statistics that are no zeros and ones."""
    model = build()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.3, 0.3)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
            nn.init.uniform_(module.weight, -1, 1)
            nn.init.uniform_(module.bias, -1, 1)
    return model


MANY = [
    (kind, bits, act)
    for kind in SHAPES
    for bits in (1, 1.6, 2, 3, 4, 5, 6, 7, 8, 16, 32)
    for act in (4, 8, 16, 32)
]
FEW = ("image", 4, 8), ("sound", 2, 8), ("sound", 16, 8)


@pytest.mark.parametrize(("kind", "bits", "act"), mostly_slow(MANY, *FEW))
def test_convolutions(kind: str, bits: float, act: int, tmp_path: Path) -> None:
    build, shape = SHAPES[kind]
    source = source_of(tmp_path, partial(normed, build), noise(*shape), choice_of(bits, act))
    made = exported(source, tmp_path)
    assert whole_difference(made, noise(*shape, seed=2)) < TOLERANCE
    assert ("convolve_floats" in made.program.source.read_text()) == (bits > 8 or act > 8)
    operations = [layer.operation for layer in made.program.layers]
    kept = kind == "image" and bits < 16  # a tanh keeps the other one from its convolution
    assert operations.count("batch_norm") == (1 if kept else 2 * (kind == "image"))
