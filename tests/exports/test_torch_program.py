from __future__ import annotations

from pathlib import Path

import pytest
import torch

import autoquant as aq
from tests.exports.models import packed


@pytest.mark.parametrize("name", ["language", "spotter", "convolutions", "encoder"])
def test_programs_give_the_same_bits(tmp_path: Path, name: str) -> None:
    made = packed(tmp_path, name)
    result = aq.export(made.path, made.pair.build(), format="torch", example=made.example)
    assert result.difference.largest == 0


def test_a_program_is_called_as_the_model_is(tmp_path: Path) -> None:
    made = packed(tmp_path, "language")
    result = aq.export(made.path, made.pair.build(), format="torch", example=made.example)
    program = torch.export.load(str(result.files[0])).module()
    tokens = made.example.inputs[0][:4, :2]
    state = tuple(torch.zeros(2, 2, 24) for _ in range(2))
    with torch.no_grad():
        given, after = program(tokens, state=state)
        expected, last = made.pair.loaded(tokens)
    assert torch.equal(given, expected)
    assert torch.equal(after[1], last[1])
