"""Small models with packed files, which several tests export."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from autoquant.exports.recording import Source
from autoquant.exports.source import open_source
from autoquant.plan import Bits, LayerChoice
from autoquant.settings import Scheme
from autoquant.task import Example
from autoquant.tasks.language_model import LanguageModel
from autoquant.training.qat import build_candidate
from tests.exports.networks import (
    CellLoop,
    ConvolutionFirst,
    Convolutions,
    Encoder,
    MeanSpotter,
    Spotter,
    Tied,
)
from tests.runtime.pairs import Once, Pair, noise, saved, seeded
from tests.toys import plan_of, prepared_once


def words(*shape: int) -> Tensor:
    return torch.randint(0, 50, shape, generator=torch.Generator().manual_seed(2))


BUILDS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "language": (lambda: LanguageModel(50, 24, 24, 2, 0.0, "lstm"), lambda: words(7, 3)),
    "language gru": (lambda: LanguageModel(50, 20, 24, 1, 0.0, "gru"), lambda: words(7, 3)),
    "spotter": (Spotter, lambda: noise(3, 9, 13)),
    "both ways": (lambda: Spotter(bidirectional=True), lambda: noise(3, 9, 13)),
    "mean": (MeanSpotter, lambda: noise(3, 9, 13)),
    "convolutions": (Convolutions, lambda: noise(2, 1, 12, 12)),
    "encoder": (Encoder, lambda: words(2, 6)),
    "convolution first": (ConvolutionFirst, lambda: noise(3, 6, 9)),
    "weight that is read": (Tied, lambda: words(2, 6)),
    "cell loop": (CellLoop, lambda: noise(3, 6, 13)),
}


@dataclass(frozen=True)
class Packed:
    """A packed file, its float model and an example."""

    pair: Pair
    example: Example

    @property
    def path(self) -> Path:
        return self.pair.path

    def source(self) -> Source:
        """What an export reads."""
        return open_source(self.path, self.pair.build(), self.example)


def packed(
    folder: Path,
    name: str,
    weights: Bits = 4,
    activations: int = 8,
    hidden: int = 8,
    scheme: Scheme | None = None,
    **widths: float,
) -> Packed:
    """A packed file of one of BUILDS.

    Args:
        folder: of the file.
        name: of the model.
        weights: bits of all weights.
        activations: bits of all layer inputs.
        hidden: bits of hidden states.
        scheme: of the quantizers.
        **widths: as in toys.plan_of.
    """
    build, example = BUILDS[name]
    inputs, build = example(), seeded(build, 0)
    model, network = prepared_once(build(), inputs)
    choice = LayerChoice(weights, activations, 1.0, weights, hidden)
    scheme, plan = scheme or Scheme(), plan_of(network, choice, **widths)
    task = Once(build(), inputs)
    fake = build_candidate(model, network, plan, scheme, task, method="split", seed=0)
    pair = saved(folder, fake.eval(), network, plan, scheme, build)
    return Packed(pair, Example((inputs,), 1))
