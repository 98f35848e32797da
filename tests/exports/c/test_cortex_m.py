"""On an emulated Cortex-M4 a program gives the very bits that it gives here."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmarks.cortex_m import FLOATS, measured, missing
from tests.exports.c.exported import exported, source_of
from tests.exports.c.test_convolutions import SHAPES
from tests.runtime.pairs import noise
from tests.toys import Stack

pytestmark = pytest.mark.skipif(bool(missing()), reason=f"not installed: {missing()}")


@pytest.mark.parametrize("floats", [*FLOATS])
def test_steps(floats: str, tmp_path: Path) -> None:
    source = source_of(tmp_path, partial(Stack, cell="LSTM", layers=2), noise(5, 2, 5))
    made = exported(source, tmp_path, steps=True)
    steps = noise(20, 1, 5, seed=3).numpy()[:, None]
    outputs, _ = made.module.sequence([steps])
    board = measured(made.program, [steps], tmp_path / "board", floats)
    assert np.array_equal(board.outputs, outputs[0][-1].reshape(-1))
    assert 1000 < board.instructions < 500_000
    assert board.flash > made.program.flash


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*SHAPES])
def test_images(kind: str, tmp_path: Path) -> None:
    build, shape = SHAPES[kind]
    made = exported(source_of(tmp_path, build, noise(*shape)), tmp_path)
    given = noise(1, *shape[1:], seed=3).numpy()
    outputs, _ = made.module.run([given])
    board = measured(made.program, [given[None]], tmp_path / "board")
    assert np.array_equal(board.outputs, outputs[0].reshape(-1))
