from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import autoquant as aq
from autoquant.plan import LayerChoice
from autoquant.task import Example
from tests.cli.typed import ROOT
from tests.exports.models import packed, words
from tests.runtime.pairs import noise, pair

FRESH = """
import sys
from tests.alone import refuse_others

refuse_others()
import torch
import autoquant.runtime
program = torch.export.load(sys.argv[1]).module()
for tokens, state, expected in torch.load(sys.argv[2]):
    logits, after = program(tokens, state=state)
    for ours, theirs in zip((logits, *after), expected, strict=True):
        assert torch.equal(ours, theirs)
"""
"""Loads a program without other libraries, and calls it with what a file holds."""


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


@pytest.mark.slow
def test_activations_of_16_bits_leave_all_sizes_free(tmp_path: Path) -> None:
    made = packed(tmp_path, "language", activations=16)
    result = aq.export(made.path, made.pair.build(), format="torch", example=made.example)
    assert result.difference.largest == 0
    assert "fixed" not in str(result)
    calls = []
    for shape in ((7, 3), (11, 2), (2, 5)):
        state = noise(2, shape[1], 24), noise(2, shape[1], 24, seed=2)
        with torch.no_grad():
            logits, after = made.pair.loaded(words(*shape), state=state)
        calls.append((words(*shape), state, (logits, *after)))
    torch.save(calls, tmp_path / "calls")
    command = [sys.executable, "-c", FRESH, str(result.files[0]), str(tmp_path / "calls")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


class Loops(nn.Module):
    """Frames [B, T, 13], one by one: a program has as many steps as its example."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(13, 4)

    def forward(self, frames: Tensor) -> Tensor:
        rows = [torch.stack(sequence.unbind(0)) for sequence in frames.unbind(0)]
        return self.head(torch.stack(rows))


def test_fixed_sizes_are_named(tmp_path: Path) -> None:
    frames = noise(2, 3, 13)
    made = pair(tmp_path, Loops, LayerChoice(4, 8), frames)
    result = aq.export(made.path, made.build(), format="torch", example=Example((frames,), 1))
    assert "the sizes of its inputs are fixed: frames [2, 3, 13]" in str(result)
