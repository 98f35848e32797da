from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from autoquant.errors import UserError
from autoquant.plan import LayerChoice, Plan
from autoquant.study.folder import Study
from autoquant.study.sweep_table import (
    COLUMNS,
    SweepRun,
    SweepRunResult,
    SweepTable,
    from_csv,
    to_csv,
)

PLAN = Plan({"rnn.l0": LayerChoice(1.6, 8, 1.5, hidden_bits=4), "decoder": LayerChoice(4, 8)})
UNIFORM = SweepRun("w1.6-a8-x1.5-seed3", PLAN, 3, "baseline", 1.6, 8, 1.5)
FILLED = SweepRun("0.125x-a8-x1-seed0", None, 0, "scratch", None, 8, 1.0, "0.125x")
COMPLETE = SweepRunResult(UNIFORM, "complete", 38.25, 37.0, 300_000, 0.125, 0.1, 1200.0, 50, 9.25)
DIVERGED = SweepRunResult(
    replace(UNIFORM, name="mine-seed3", weight_bits=None, activation_bits=None, width=None),
    "diverged",
    size_bytes=300_000,
    reason='the loss must be finite,\ngot "nan"',
)
TOO_LARGE = SweepRunResult(FILLED, "too large")


@pytest.fixture
def table(tmp_path: Path) -> SweepTable:
    return SweepTable(tmp_path / "runs.csv")


def test_a_table_reads_what_it_wrote(table: SweepTable) -> None:
    results = [COMPLETE, DIVERGED, TOO_LARGE]
    assert table.results() == []
    for result in results:
        table.append(result)
    assert table.results() == results
    assert list(table.by_name()) == ["w1.6-a8-x1.5-seed3", "mine-seed3", "0.125x-a8-x1-seed0"]
    assert from_csv(to_csv(results)) == results
    assert table.path.read_text().splitlines()[0] == ",".join(COLUMNS)


def test_whole_numbers_stay_whole() -> None:
    whole = replace(COMPLETE, run=replace(UNIFORM, weight_bits=4, width=2), valid=38.0)
    (read,) = from_csv(to_csv([whole]))
    assert type(read.run.weight_bits) is int
    assert type(read.run.width) is float
    assert type(read.valid) is float
    assert type(read.steps) is int


def test_a_group_is_a_run_without_its_seed() -> None:
    assert UNIFORM.group == "w1.6-a8-x1.5"
    assert replace(UNIFORM, name="seed3-seed3").group == "seed3"


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "name,state\nx,complete\n"])
def test_a_damaged_table_is_refused(table: SweepTable, text: str) -> None:
    table.path.write_text(text)
    with pytest.raises(UserError, match=r"runs\.csv' must be as a sweep wrote it"):
        table.results() or table.append(COMPLETE) or table.results()


def test_the_table_of_a_study(tmp_path: Path) -> None:
    assert SweepTable.of(Study(tmp_path)).path == tmp_path / "runs.csv"


def test_a_table_that_an_earlier_version_began_is_kept(tmp_path: Path) -> None:
    text = to_csv([COMPLETE, TOO_LARGE])
    earlier = tmp_path / "cells.csv"
    earlier.write_text(text.replace("init_from", "start", 1))
    table = SweepTable.of(Study(tmp_path))
    assert table.path == earlier
    assert table.results() == [COMPLETE, TOO_LARGE]
    table.append(DIVERGED)
    assert earlier.read_text() == to_csv([COMPLETE, TOO_LARGE, DIVERGED])
    assert not (tmp_path / "runs.csv").exists()
