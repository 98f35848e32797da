"""A fake-quantized model and what becomes of it in a packed file: the two must be the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from autoquant.artifact import packed_file
from autoquant.graph.network import Network
from autoquant.plan import LayerChoice, Plan
from autoquant.runtime import PackedWeight
from autoquant.settings import Scheme
from autoquant.training.qat import build_candidate
from tests.toys import RegressionTask, plan_of, prepared_once

WEIGHT_BITS = (1, 2, 3, 4, 5, 6, 7, 8)
CHOSEN_BITS = (1, 1.6, *WEIGHT_BITS[1:])  # those of a plan; 1.6 is held as 2
ACTIVATION_BITS = (2, 3, 4, 5, 6, 7, 8, 16, 32)
SCHEMES = {
    "learned, channel": Scheme(),
    "learned, tensor": Scheme(granularity="tensor", scale_bits=32, bias_bits=8),
    "midrise": Scheme(grid="midrise", scale="fixed", bias_bits=32, scale_bits=32),
    "midtread": Scheme(grid="midtread", bias_bits=4),
    "steps in 8 bits": Scheme(scale_bits=8, bias_bits=8),
    "bit-rnn": Scheme.bit_rnn(),
}
Build = Callable[[], nn.Module]


@dataclass(frozen=True)
class Pair:
    """A model before and after it went through a file; the file; how an instance is built."""

    fake: nn.Module
    loaded: nn.Module
    path: Path
    build: Build

    def again(self) -> nn.Module:
        """Load the file once more."""
        return packed_file.load(self.path, self.build())

    def afresh(self) -> Pair:
        """The same pair, its file loaded once more."""
        return replace(self, loaded=self.again())


class Once(RegressionTask):
    """One batch: enough to calibrate on."""

    def batches(self, seed: int, start: int = 0) -> Iterator[Tensor]:
        yield self._inputs


def seeded(build: Build, seed: int) -> Build:
    """An instance with the same weights at each call."""

    def built() -> nn.Module:
        torch.manual_seed(seed)
        return build().eval()

    return built


def pair(
    folder: Path,
    build: Build,
    choice: LayerChoice,
    inputs: Any,
    scheme: Scheme | None = None,
    *,
    seed: int = 0,
    **widths: float,
) -> Pair:
    """Quantize, calibrate on the inputs, save and load; ``widths`` as in toys.plan_of."""
    build, scheme = seeded(build, seed), scheme or Scheme()
    task = Once(build(), inputs)
    model, network = prepared_once(build())
    plan = plan_of(network, choice, **widths)
    fake = build_candidate(model, network, plan, scheme, task, method="split", seed=0)
    return saved(folder, fake.eval(), network, plan, scheme, build)


@torch.no_grad()
def saved(
    folder: Path, fake: nn.Module, network: Network, plan: Plan, scheme: Scheme, build: Build
) -> Pair:
    folder.mkdir(exist_ok=True)
    path = folder / "packed"
    packed_file.save(path, fake, network, plan, scheme)
    return Pair(fake, packed_file.load(path, build()), path, build)


def noise(*shape: int, seed: int = 1) -> Tensor:
    """Normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def flat(output: Any) -> list[Tensor]:
    """All tensors of an output, in order: of tuples and of packed sequences too."""
    return [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor)]


def assert_equal(ours: Any, theirs: Any) -> None:
    """Bit for bit, with no tolerance; a NaN equals a NaN."""
    left, right = flat(ours), flat(theirs)
    assert len(left) == len(right)
    for mine, other in zip(left, right, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=0, equal_nan=True)


def equal_on(both: Pair, *inputs: Any) -> list[Tensor]:
    """The loaded model gives what the fake-quantized one gives; returns it."""
    with torch.no_grad():
        ours, theirs = both.loaded(*inputs), both.fake(*inputs)
    assert_equal(ours, theirs)
    return flat(ours)


def assert_same(both: Pair, *inputs: Any) -> None:
    """The same, and there is something to be seen."""
    assert float(equal_on(both, *inputs)[0].nan_to_num().abs().max()) > 0


def weights_of(model: nn.Module) -> list[PackedWeight]:
    """Everything that is packed in a model."""
    return [each for each in model.modules() if isinstance(each, PackedWeight)]
