"""Errors of packed files, the tables of word error rates, and the memory of a running model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import autoquant as aq
from autoquant.study import records
from autoquant.tasks.speech.error_rates import ErrorRates
from studies.speech import results
from studies.speech.errors import RunErrors, by_group, measure, pooled, read
from studies.speech.running_memory import running_memory, tensor_bytes
from tests.tasks.speech.samples import plain_corpus

SMALL = {"fc1": 8, "fc2": 8, "fc3": 8, "hidden": 8, "fc5": 8, "cepstra": 6, "context": 1}


def errors_of(name: str, seed: int, *word_errors: int) -> RunErrors:
    """Errors in utterances of ten words and fifty characters each."""
    count = len(word_errors)
    characters = tuple(2 * each for each in word_errors)
    counts = word_errors, (10,) * count, characters, (50,) * count
    return RunErrors(f"{name}-seed{seed}", name, 0.25, 0.1, 0.5, ErrorRates(*counts))


def write(folder: Path, *found: RunErrors) -> Path:
    folder.mkdir(parents=True)
    rows = [records.to_row(each) for each in found]
    (folder / "errors.csv").write_text(records.to_csv([*rows[0]], rows))
    assert read(folder) == [*found]
    return folder


def test_errors_of_seeds_are_added_up_by_utterance() -> None:
    runs = [errors_of("a", 0, 1, 0, 2), errors_of("a", 1, 0, 3, 1)]
    assert by_group(runs) == {"a": runs}
    together = pooled(runs)
    assert (together.word_errors, together.words) == ((1, 3, 3), (20, 20, 20))
    assert together.wer == pytest.approx((runs[0].rates.wer + runs[1].rates.wer) / 2)
    assert together.cer == pytest.approx((runs[0].rates.cer + runs[1].rates.cer) / 2)


def test_plans_stand_beside_the_float_model_and_their_rivals(tmp_path: Path) -> None:
    base = errors_of("w32-a32-x1", 0, 2, 1, 0, 1)
    good = errors_of("found-0.0625x", 0, 2, 1, 0, 1)
    worse = replace(good.rates, word_errors=(9, 8, 9, 8))
    bad = replace(good, name="w2-a8-x1-seed0", group="w2-a8-x1", rates=worse)
    rival = replace(bad, name="w1.6-a8-x1.25-seed0", group="w1.6-a8-x1.25")
    folder = write(tmp_path / "plans", base, good, bad, rival)
    head, _, float_row, found, uniform, _ = results.plans_table(folder).splitlines()
    assert head.startswith("| plan | runs | true size | WER | test set alone | CER | CTC loss |")
    assert float_row.endswith("| - | - |")
    assert found.endswith("| +0.00 [+0.00, +0.00] points | +1.5%: met |")
    assert "| +75.00 [" in uniform
    *_, one, other = results.rivals_table(folder).splitlines()
    assert one.startswith("| found-0.0625x | 0.2500x | w2-a8-x1 | 0.2500x | -75.00 [")
    assert "w1.6-a8-x1.25" in other


def test_the_papers_tables(tmp_path: Path) -> None:
    floats = [errors_of("w32-a32-x1", seed, 2, 0, 0) for seed in (0, 1)]
    worse = [errors_of("w8-a32-x1", seed, 3, 0, 0) for seed in (0, 1)]
    fine = [errors_of("w32-a8-x1", seed, 2, 0, 0) for seed in (0, 1)]
    folder4 = write(tmp_path / "table4", *floats, *fine)
    table3 = results.table3(write(tmp_path / "table3", *worse), folder4).splitlines()
    assert "| 6.67% ± 0.00% |" in table3[2]
    assert table3[3].endswith("| +50.0% | +3.3% |")
    assert results.table4(folder4).splitlines()[3].endswith("| +0.0% | +0.4% |")


def test_errors_are_those_of_the_packed_files(tmp_path: Path) -> None:
    pytest.importorskip("jiwer")
    pytest.importorskip("kaldi_native_fbank")
    from autoquant.tasks.speech.speech_task import speech

    corpus = plain_corpus(tmp_path / "corpus", {"train": 8, "valid": 4, "test": 3})
    task = speech(corpus, **SMALL)  # type: ignore[arg-type]
    short = aq.Training(steps=2)
    found = aq.sweep(
        task,
        aq.Search(baseline=short, final=short),
        sweep=aq.Sweep(weight_bits=(4,), save=True),
        study=tmp_path / "study",
        progress=False,
    )
    for _ in range(2):  # the second time nothing is left to do
        measure(tmp_path / "study", task)
        (errors,) = read(tmp_path / "study")
        (run,) = found.results
        assert errors.wer_test == run.test
        valid = sum(errors.rates.word_errors[:4]) / sum(errors.rates.words[:4])
        assert valid == pytest.approx(run.valid)
        assert len(errors.rates.words) == 7


def test_memory_while_running() -> None:
    """Two layers: the weights, and at the peak the output of the first and of the second."""
    first, second = nn.Linear(64, 1000, bias=False), nn.Linear(1000, 2000, bias=False)
    model = nn.Sequential(first, second)
    weights = 4 * (64 * 1000 + 1000 * 2000)
    assert tensor_bytes(model) == weights
    found = running_memory(model, torch.randn(100, 64))
    assert found.model == weights
    outputs = 4 * 100 * (1000 + 2000)
    assert outputs <= found.forward <= 1.1 * outputs + 10_000
