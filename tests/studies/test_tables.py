"""The studies' tables, from results as a sweep writes them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from studies.markdown import write_between_marks
from studies.ptb import tables
from studies.ptb.paper import BITS, NEURONS, TABLE_1, TABLE_2
from studies.ptb.tables import (
    TABLES,
    table_1,
    table_2,
    table_of_gains,
    table_of_plans,
    table_of_scratch,
    table_of_widths,
)

RUN = {"name": "run", "init_from": "baseline", "seed": 0, "state": "complete", "plan": ""}
FLOAT_MODEL = {
    **{"score": 100.0, "size_bytes": 2_500_000, "parameters": 625_000, "metric": "perplexity"},
    **{"direction": "minimize", "steps": 1, "seconds": 1.0, "history": [], "test": 100.0},
}


def folder_of(path: Path, *results: dict[str, Any]) -> Path:
    """A study with these results; what they do not name is as in RUN."""
    path.mkdir()
    columns = dict.fromkeys(name for result in (RUN, *results) for name in result)
    with (path / "runs.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns))
        writer.writeheader()
        writer.writerows({**RUN, **result} for result in results)
    (path / "baseline.json").write_text(json.dumps(FLOAT_MODEL))
    return path


def row_of(table: str, start: str) -> list[str]:
    (line,) = [line for line in table.splitlines() if line.startswith(f"| {start} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_papers_tables_are_whole() -> None:
    assert set(TABLE_1) == {(w, a) for w in BITS for a in BITS}
    assert len(TABLE_2) == 4 * len(NEURONS)
    for weights, activations, neurons in TABLE_2:  # the ungrown column repeats Table 1
        if neurons == 300:
            assert TABLE_2[weights, activations, neurons] == TABLE_1[weights, activations]


def test_each_cell_stands_beside_the_papers(tmp_path: Path) -> None:
    bits = {"weight_bits": 4, "activation_bits": 2}
    sizes = {"size_share": 0.13, "paper_size_ratio": 0.125, "activation_bytes": 225.0}
    cells = [{**bits, **sizes, "test": 90.0}, {**bits, **sizes, "test": 92.0}]
    cells.append({**cells[0], "activation_bits": 32, "activation_bytes": 3600.0, "test": 88.0})
    lost = {**bits, "activation_bits": 8, "state": "diverged"}
    table = table_1(folder_of(tmp_path / "study", *cells, lost))
    assert row_of(table, "4") == [
        *("4", "88.0 / 114.3", "- / 114.5", "- / 114.8", "- / 115.2", "91.0 ± 1.4 / 116.7"),
        "0.130x (0.125x)",
    ]
    assert row_of(table, "activations") == ["activations", "3600 B", "-", "-", "-", "225 B", ""]


def test_sizes_stand_beside_the_neurons(tmp_path: Path) -> None:
    cell = {"weight_bits": 2, "activation_bits": 4, "width": 1.5, "test": 95.04}
    cell |= {"size_share": 0.1032, "paper_size_ratio": 0.0938, "activation_bytes": 1050.0}
    table = table_2(folder_of(tmp_path / "study", cell))
    assert row_of(table, "2 x 4") == [
        *("2 x 4", "- / 138.5", "-"),
        *("95.0 / 130.6", "0.103x (0.094x); 1050 B", "- / 128.4", "-"),
    ]


def test_from_scratch_stands_beside_the_start_from_the_float_model(tmp_path: Path) -> None:
    bits = {"weight_bits": 4, "activation_bits": 4}
    grown, low = {**bits, "width": 1.5}, {"weight_bits": 2, "activation_bits": 2, "width": 1.0}
    folder_of(tmp_path / "ptb-table1", {**low, "test": 107.0}, {**bits, "width": 1, "test": 199.0})
    folder_of(tmp_path / "ptb-table2", {**bits, "width": 1, "test": 101.0}, {**grown, "test": 99.0})
    cells = [{**low, "test": 130.0}, {**grown, "test": 120.0}, {**bits, "width": 1, "test": 121.0}]
    cells.append({"weight_bits": 32, "activation_bits": 32, "width": 1.5, "test": 95.0})
    table = table_of_scratch(folder_of(tmp_path / "ptb-scratch", *cells))
    assert [line.strip("|").split(" | ")[1:] for line in table.splitlines()[2:]] == [
        ["300", "100.0", "", "", " "],
        ["450", "95.0", "-5.0%", "-", "- "],
        ["300", "121.0", "+21.0%", "+1.0%", "+6.0% "],
        ["450", "120.0", "+20.0%", "-1.0%", "+0.1% "],
        ["300", "130.0", "+30.0%", "+7.0%", "+40.0% "],
    ]


def test_plans_are_held_against_the_float_model(tmp_path: Path) -> None:
    cells = [
        {"name": f"lstm-0.1x-seed{seed}", "seed": seed, "size_share": 0.0999, "test": test}
        for seed, test in enumerate((101.0, 102.0, 103.0))
    ]
    table = table_of_plans(folder_of(tmp_path / "study", *cells))
    assert row_of(table, "float model") == ["float model", "2.50 MB", "100.00", ""]
    assert row_of(table, "lstm-0.1x") == ["lstm-0.1x", "0.0999x", "102.00 ± 1.00", "+2.00%"]


def test_widths_stand_side_by_side(tmp_path: Path) -> None:
    kind = {"init_from": "baseline", "budget": "0.1x", "activation_bits": 4}
    cells = [
        {**kind, "width": width, "valid": test + 1, "test": test}
        for width, test in ((1.0, 90.0), (1.5, 91.0), (1.0, 92.0), (1.5, 91.0))
    ]
    cells.append({**kind, "init_from": "scratch", "width": 1.5, "valid": 99.0, "test": 98.0})
    table = table_of_widths(folder_of(tmp_path / "study", *cells))
    assert table.startswith(
        "| start | weights | activation bits | x1, valid | x1, test | x1.5, valid | x1.5, test |"
    )
    assert row_of(table, "baseline") == [
        *("baseline", "0.1x", "4", "92.00 ± 1.41", "91.00 ± 1.41", "92.00 ± 0.00", "91.00 ± 0.00")
    ]
    assert row_of(table, "scratch") == ["scratch", "0.1x", "4", "-", "-", "99.00", "98.00"]


def test_the_float_model_stands_beside_widths(tmp_path: Path) -> None:
    kind = {"init_from": "baseline", "width": 1.0, "valid": 90.0, "test": 91.0}
    cells = [
        {**kind, "budget": "0.1x", "activation_bits": 8},
        {**kind, "budget": "", "weight_bits": 32, "activation_bits": 32},
    ]
    lines = table_of_widths(folder_of(tmp_path / "study", *cells)).splitlines()
    assert lines[2] == "| baseline | 0.1x | 8 | 90.00 | 91.00 |"
    assert lines[3] == "| baseline | 32 bits | 32 | 90.00 | 91.00 |"


def test_what_width_brings_is_told_seed_by_seed(tmp_path: Path) -> None:
    tests = {1.0: (100.0, 200.0, 50.0), 1.5: (99.0, 194.0, None), 2.0: (1.0, 1.0, 1.0)}
    kind = {"init_from": "baseline", "activation_bits": 4}
    cells = [
        {**kind, "seed": seed, "width": width, "test": test}
        for width, by_seed in tests.items()
        for seed, test in enumerate(by_seed)
        if test is not None
    ]
    cells += [{**cell, "init_from": "scratch", "test": 7.0} for cell in cells]
    folder_of(tmp_path / "ptb-widths", *cells)
    table = table_of_gains(tmp_path)
    (row,) = table.splitlines()[2:]
    assert row.endswith("| - | - | -2.0 ± 1.4% | - |")


def test_a_table_is_put_between_its_marks(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("a\n<!-- x -->\nold\n<!-- end of x -->\nb\n<!-- y -->\n<!-- end of y -->\n")
    write_between_marks(readme, "x", "| new |\n")
    text = "a\n<!-- x -->\n\n| new |\n\n<!-- end of x -->\nb\n<!-- y -->\n<!-- end of y -->\n"
    assert readme.read_text() == text


@pytest.mark.parametrize("name", TABLES)
def test_the_readme_has_the_table_of_the_results(name: str) -> None:
    text = (Path(tables.__file__).parent / "README.md").read_text(encoding="utf-8")
    start, end = text.index(f"<!-- {name} -->"), text.index(f"<!-- end of {name} -->")
    assert start < end
    if tables.folder_of(name).is_dir():
        assert TABLES[name](tables.folder_of(name)) in text[start:end]
