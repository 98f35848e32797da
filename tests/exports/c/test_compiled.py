from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from autoquant.errors import UserError
from autoquant.exports.c import write_c
from autoquant.exports.c.compiled import compiled
from tests.exports.c.exported import floats_of


def test_a_missing_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = write_c(floats_of(torch.relu, torch.ones(2)), tmp_path)
    monkeypatch.setenv("CC", "no-such-compiler -O2")
    with pytest.raises(UserError, match=r"must be installed, .* got \['no-such-compiler'\]$"):
        compiled(program)


def test_a_compiler_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = write_c(floats_of(torch.relu, torch.ones(2)), tmp_path)
    program.source.write_text("#error no\n")
    monkeypatch.setenv("CC", "cc")
    with pytest.raises(UserError, match=r"^cc must compile model.c, got: .*error"):
        compiled(program)


def test_shapes_and_types(tmp_path: Path) -> None:
    def both(x: torch.Tensor, n: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x * n, n + 1

    recording = floats_of(both, torch.ones(2, 3), torch.ones(3, dtype=torch.int64))
    module = compiled(write_c(recording, tmp_path))
    (product, number), states = module.run([np.ones((2, 3)), [1, 2, 3]])
    assert product.tolist() == [[1, 2, 3]] * 2
    assert number.tolist() == [2, 3, 4]
    assert number.dtype == np.int32
    assert states == []
    with pytest.raises(UserError, match=r"^\w+ must have shape \[2, 3\], got \[3, 2\]$"):
        module.run([np.ones((3, 2)), [1, 2, 3]])
