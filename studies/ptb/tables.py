"""The tables of the studies' README files, from the cells that ``autoquant sweep`` wrote."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev

from studies.ptb.paper import BITS, NEURONS, TABLE_1, TABLE_2

Row = dict[str, str]
UNITS = 300  # neurons of the ungrown model


def read(folder: Path) -> list[Row]:
    """The complete cells of a sweep."""
    with (folder / "cells.csv").open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["state"] == "complete"]


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def spread(values: Sequence[float]) -> str:
    """Mean, and standard deviation of several seeds."""
    if not values:
        return "-"
    text = f"{mean(values):.1f}"
    return text if len(values) == 1 else f"{text} ± {stdev(values):.1f}"


def table_1(folder: Path) -> str:
    """Test perplexity of weights x activations, ours / the paper's."""
    cells: dict[tuple[int, int], list[float]] = defaultdict(list)
    for row in read(folder):
        cells[int(row["weight_bits"]), int(row["activation_bits"])].append(float(row["test"]))
    rows = [
        [str(weights), *(f"{spread(cells[weights, a])} / {TABLE_1[weights, a]}" for a in BITS)]
        for weights in BITS
    ]
    return markdown(["weights \\ activations", *map(str, BITS)], rows)


def table_2(folder: Path) -> str:
    """Test perplexity, true size and the paper's k/32 of bits x neurons, ours / the paper's."""
    found: dict[tuple[int, int, int], list[Row]] = defaultdict(list)
    for row in read(folder):
        neurons = round(float(row["width"]) * UNITS)
        found[int(row["weight_bits"]), int(row["activation_bits"]), neurons].append(row)
    rows = []
    for weights, activations in dict.fromkeys(key[:2] for key in TABLE_2):
        cells = [f"{weights} x {activations}"]
        for neurons in NEURONS:
            own, paper = (
                found[weights, activations, neurons],
                TABLE_2[weights, activations, neurons],
            )
            cells.append(f"{spread([float(row['test']) for row in own])} / {paper}")
            cells.append(_sizes(own))
        rows.append(cells)
    head = ["weights x activations"]
    for neurons in NEURONS:
        head += [f"{neurons} neurons", "size: true (k/32); activations"]
    return markdown(head, rows)


def _sizes(rows: Sequence[Row]) -> str:
    if not rows:
        return "-"
    row = rows[0]
    true, paper = float(row["size_share"]), float(row["paper_share"])
    return f"{true:.3f}x ({paper:.3f}x); {float(row['activation_bytes']):.0f} B"


TABLES = {
    "table1": table_1,
    "table2": table_2,
    "table1-bit-rnn": table_1,
    "table2-bit-rnn": table_2,
}


def write_all() -> None:
    """Write the tables of the studies that have cells."""
    here = Path(__file__).parent
    for name, table in TABLES.items():
        folder = here.parent / f"ptb-{name}"
        if (folder / "cells.csv").is_file():
            write(here / "README.md", name, table(folder))


def write(readme: Path, name: str, table: str) -> None:
    """Put a table between its two marks."""
    text = readme.read_text(encoding="utf-8")
    marks = f"<!-- {name} -->", f"<!-- end of {name} -->"
    pattern = re.compile(f"{marks[0]}.*{marks[1]}", re.DOTALL)
    readme.write_text(pattern.sub(lambda _: f"{marks[0]}\n\n{table}\n{marks[1]}", text))
