"""Rows of Brevitas and their table; the model where Brevitas is installed."""

from __future__ import annotations

import pytest
import torch

from autoquant.tasks.language_model import LanguageModel
from benchmarks.tabular.brevitas_model import BrevitasLanguageModel
from benchmarks.tabular.live import LiveRow
from benchmarks.tabular.peer import PeerRow, peer_table


def test_differences_are_paired_by_seed() -> None:
    rows = [PeerRow(0.1, seed, 3, 900, 2.0, test, 5.0) for seed, test in enumerate((1.5, 1.7, 9.9))]
    live = [
        LiveRow(0.1, seed, kind, "a", 910 + seed, 2.0, test, 1.0, 30.0)
        for seed, test in enumerate((1.4, 1.4))
        for kind, test in (("search", test), ("first", 7.0))
    ]
    cells = [cell.strip() for cell in peer_table(rows, live).splitlines()[2].strip("|").split("|")]
    assert cells == ["0.1x", "2", "3", "900", "1.6000", "911", "1.4000", "-0.2000 ± 0.1000"]


def test_the_model_has_the_weights_of_the_float_one() -> None:
    pytest.importorskip("brevitas")
    torch.manual_seed(0)
    model = LanguageModel(30, 6, 8, layers=2, dropout=0.0)
    quantized = BrevitasLanguageModel(model, 8, 8)
    tokens = torch.randint(30, (5, 3))
    for _ in range(3):
        logits, state = quantized(tokens)
    again, _ = quantized(tokens, state)
    expected, before = model(tokens)
    torch.testing.assert_close(logits, expected, rtol=0.0, atol=0.02)
    torch.testing.assert_close(again, model(tokens, before)[0], rtol=0.0, atol=0.02)
    assert (again - logits).abs().max() > 1e-3
