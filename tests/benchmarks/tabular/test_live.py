"""Rows of live comparisons, and their table."""

from __future__ import annotations

import math
from pathlib import Path

from benchmarks.tabular.live import LiveRow, LiveRows, live_table


def rows(seed: int, search: float, first: float, uniform: float) -> list[LiveRow]:
    """The rows of one search; its choice is the first plan where the losses are equal."""
    losses = {"search": search, "first": first, "uniform": uniform}
    names = {"search": "a" if search == first else "b", "first": "a", "uniform": "u"}
    return [
        LiveRow(0.1, seed, kind, names[kind], 100, 2.0, loss, 1.0, 30.0)
        for kind, loss in losses.items()
    ]


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    file = LiveRows(tmp_path / "live.csv")
    assert file.read() == []
    file.append(rows(0, 1.1, 1.3, 1.4))
    file.append(rows(1, 1.2, 1.2, 1.5))
    assert file.read() == rows(0, 1.1, 1.3, 1.4) + rows(1, 1.2, 1.2, 1.5)


def test_differences_are_paired_by_seed() -> None:
    lines = live_table(rows(0, 1.1, 1.3, 1.4) + rows(1, 1.2, 1.2, 1.5)).splitlines()
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    error = math.sqrt(((-0.2 + 0.1) ** 2 + (0.0 + 0.1) ** 2) / 1 / 2)
    assert cells[:6] == ["0.1x", "2", "1.0000", "1.1500", "1.2500", "1.4500"]
    assert cells[6:8] == [f"-0.1000 ± {error:.4f}", "-0.3000 ± 0.0000"]
    assert cells[8:] == ["1", "30"]
    alone = live_table(rows(0, 1.1, 1.3, 1.4)).splitlines()[2]
    assert "| -0.2000 |" in alone
