"""The files of a table."""

from __future__ import annotations

import math
from pathlib import Path

from benchmarks.tabular.table import PlanRow, RunRow, TableFolder

PLANS = [PlanRow(0, "spread", 0.0, 1200, 34, "0-3-1"), PlanRow(1, "first", 0.06, 990, 30, "1-0-2")]
RUNS = [RunRow(0, 0, "short", 20, 1.25, math.nan, 0.5), RunRow(1, 2, "full", 320, 1.5, 0.75, 8.0)]


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    folder = TableFolder(tmp_path)
    assert folder.runs() == []
    folder.write_plans(PLANS)
    for run in RUNS:
        folder.append(run)
    assert folder.plans() == PLANS
    assert repr(folder.runs()) == repr(RUNS)
    assert PLANS[0].indices == (0, 3, 1)


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    folder = TableFolder(tmp_path)
    for run in RUNS:
        folder.append(run)
    text = folder.runs_file.read_text()
    folder.runs_file.write_text(text[:-4])
    assert repr(folder.runs()) == repr(RUNS[:1])


def test_two_heads_of_processes_that_began_together(tmp_path: Path) -> None:
    folder = TableFolder(tmp_path)
    folder.append(RUNS[0])
    head = folder.runs_file.read_text().splitlines()[0]
    folder.runs_file.write_text(folder.runs_file.read_text() + head + "\n")
    folder.append(RUNS[1])
    assert repr(folder.runs()) == repr(RUNS)
