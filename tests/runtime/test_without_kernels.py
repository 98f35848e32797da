"""A loaded model where no compiler was: slower, and the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autoquant.artifact import packed_file
from autoquant.plan import LayerChoice
from autoquant.quantization import native
from autoquant.quantization.bitpacking import packed_bytes
from autoquant.quantization.native import library
from tests import toys
from tests.quantization.native.machine import NEEDS_KERNELS
from tests.runtime.pairs import Pair, assert_equal, flat, noise, pair, weights_of

BUILDS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "linear": (lambda: nn.Linear(37, 21), noise(6, 3, 37)),
    "embedding": (lambda: nn.Embedding(23, 13), torch.arange(22).view(11, 2)),
    "lstm": (lambda: nn.LSTM(5, 11, 2, bidirectional=True), noise(6, 3, 5)),
    "gru": (lambda: nn.GRU(5, 11, 2, bidirectional=True), noise(6, 3, 5)),
    "rnn": (lambda: nn.RNN(5, 11), noise(6, 3, 5)),
    "projected": (lambda: nn.LSTM(5, 11, proj_size=4), noise(6, 3, 5)),
    "stack": (lambda: toys.Stack("GRU", 2), noise(6, 3, 5)),
}


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Call it, and the library is gone."""

    def forget() -> None:
        library.function.cache_clear()
        library.instruction_set.cache_clear()

    def gone() -> None:
        forget()
        monkeypatch.setattr(library, "_library", lambda: None)

    yield gone
    forget()


@pytest.fixture(params=BUILDS)
def both(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Pair, Tensor]:
    build, inputs = BUILDS[request.param]
    return pair(tmp_path, build, LayerChoice(4, 8), inputs), inputs


def outputs(model: nn.Module, inputs: Any) -> list[Tensor]:
    with torch.no_grad():
        return flat(model(inputs))


def assert_near(ours: list[Tensor], theirs: list[Tensor]) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-5)


@NEEDS_KERNELS
def test_the_same_outputs(both: tuple[Pair, Tensor], without: Callable[[], None]) -> None:
    """Loaded where the kernels are not; and there they are those of the fake-quantized model."""
    models, inputs = both
    expected = outputs(models.loaded, inputs)
    without()
    assert not native.available()
    alone = models.again()
    assert all(weight.matrix is None for weight in weights_of(alone))
    assert_near(outputs(alone, inputs), expected)
    assert_equal(outputs(alone, inputs), outputs(models.fake, inputs))


@NEEDS_KERNELS
def test_kernels_may_come_later(tmp_path: Path, without: Callable[[], None]) -> None:
    """A model that was loaded without them runs with them; a move lets it use them."""
    build, inputs = BUILDS["lstm"]
    models = pair(tmp_path, build, LayerChoice(4, 8), inputs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "_library", lambda: None)
        alone = packed_file.load(models.path, build())
    assert_near(outputs(alone, inputs), outputs(models.loaded, inputs))
    alone.double().float()
    assert all(weight.matrix is not None for weight in weights_of(alone))
    assert_equal(outputs(alone, inputs), outputs(models.loaded, inputs))


@pytest.mark.parametrize("bits", [1, 1.6, *range(2, 9)], ids="w{}".format)
def test_codes_in_rows_are_the_codes_in_a_matrix(
    bits: float, tmp_path: Path, without: Callable[[], None]
) -> None:
    models = pair(tmp_path, lambda: nn.Linear(37, 21), LayerChoice(bits, 8), noise(6, 3, 37))
    expected = models.loaded.weight
    without()
    alone = models.again()
    assert torch.equal(alone.weight, expected)
    (weight,) = weights_of(alone)
    assert weight.nbytes == 21 * packed_bytes(37, math.ceil(bits)) + 4 * 21
