"""The tables of the studies' README files, from the cells that ``autoquant sweep`` wrote."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import TypeVar

from autoquant.study.outcome import complete, from_csv
from studies.ptb.paper import BITS, BY_NEURONS, NEURONS, TABLE_1, TABLE_2

Row = dict[str, str]
K = TypeVar("K", bound=Hashable)
UNITS = 300  # neurons of the ungrown model


def read(folder: Path) -> list[Row]:
    """The complete cells of a sweep."""
    with (folder / "cells.csv").open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["state"] == "complete"]


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def spread(values: Sequence[float], digits: int = 1, sign: str = "") -> str:
    """Mean, and standard deviation of several seeds."""
    if not values:
        return "-"
    text = f"{mean(values):{sign}.{digits}f}"
    return text if len(values) == 1 else f"{text} ± {stdev(values):.{digits}f}"


def _over(value: float, base: float, digits: int = 1) -> str:
    """By how many percent a value lies over another."""
    return f"{100 * (value / base - 1):+.{digits}f}%"


def table_1(folder: Path) -> str:
    """Test perplexity of weights x activations, ours / the paper's; sizes at the edges."""
    cells = _grouped(folder, lambda row: (int(row["weight_bits"]), int(row["activation_bits"])))
    rows = []
    for weights in BITS:
        own = [f"{_tests(cells, (weights, a))} / {TABLE_1[weights, a]}" for a in BITS]
        there = next((cells[weights, a] for a in BITS if (weights, a) in cells), [])
        rows.append([str(weights), *own, _sizes(there)])
    columns = ([cells[w, a][0] for w in BITS if (w, a) in cells] for a in BITS)
    rows.append(["activations", *map(_memory, columns), ""])
    head = ["weights \\ activations", *map(str, BITS), "size: true (k/32)"]
    return markdown(head, rows)


def table_2(folder: Path) -> str:
    """Test perplexity, true size and the paper's k/32 of bits x neurons, ours / the paper's."""
    found = _grouped(folder, _bits_and_neurons)
    rows = []
    for weights, activations in dict.fromkeys(key[:2] for key in TABLE_2):
        cells = [f"{weights} x {activations}"]
        for neurons in NEURONS:
            key = weights, activations, neurons
            cells.append(f"{_tests(found, key)} / {TABLE_2[key]}")
            there = found.get(key, [])
            cells.append(f"{_sizes(there)}; {_memory(there)}" if there else "-")
        rows.append(cells)
    head = ["weights x activations"]
    for neurons in NEURONS:
        head += [f"{neurons} neurons", "size: true (k/32); activations"]
    return markdown(head, rows)


def table_of_scratch(folder: Path) -> str:
    """Low precision from the first step: test perplexity, and what is lost of the float model's.

    The folders of the tables stand beside it, for the loss when the float model is the start.
    """
    tests, base = _tests_by_neurons(folder)
    lost = {key: _over(test, base) for key, test in tests.items()}
    warm: dict[tuple[int, int, int], str] = {}
    for table in ("table1", "table2"):
        beside = folder.with_name(folder.name.replace("scratch", table))
        if beside.is_dir():
            found, start = _tests_by_neurons(beside)
            warm |= {key: _over(test, start) for key, test in found.items()}
    rows = [["32 x 32", str(UNITS), f"{base:.1f}", "", "", ""]]
    for key in sorted(tests, key=lambda key: (-key[0], key[2])):
        weights, activations, neurons = key
        there = BY_NEURONS.get(key)
        paper = "-" if there is None else _over(there, TABLE_1[32, 32])
        own = f"{weights} x {activations}", str(neurons), f"{tests[key]:.1f}", lost[key]
        rows.append([*own, warm.get(key, "-"), paper])
    head = ["weights x activations", "neurons", "test perplexity", f"over float of {UNITS}"]
    return markdown([*head, "from the float model, over it", "the paper, over its float"], rows)


def _tests_by_neurons(folder: Path) -> tuple[dict[tuple[int, int, int], float], float]:
    """Mean test perplexities by bits and neurons, and the float model's."""
    base = json.loads((folder / "baseline.json").read_text(encoding="utf-8"))
    found = _grouped(folder, _bits_and_neurons)
    tests = {key: mean(float(row["test"]) for row in rows) for key, rows in found.items()}
    return tests, base["test"]


def _bits_and_neurons(row: Row) -> tuple[int, int, int]:
    width = round(float(row["width"]) * UNITS)
    return int(row["weight_bits"]), int(row["activation_bits"]), width


def _tests(cells: Mapping[K, Sequence[Row]], key: K) -> str:
    return spread([float(row["test"]) for row in cells.get(key, [])])


def _sizes(rows: Sequence[Row]) -> str:
    """A packed file's share of the float model's, and the paper's figure for it."""
    if not rows:
        return "-"
    true, paper = float(rows[0]["size_share"]), float(rows[0]["paper_share"])
    return f"{true:.3f}x ({paper:.3f}x)"


def _memory(rows: Sequence[Row]) -> str:
    """Activations of one time step."""
    return f"{float(rows[0]['activation_bytes']):.0f} B" if rows else "-"


def table_of_plans(folder: Path) -> str:
    """Test perplexity and true size of plans, each also over the float model's."""
    base = json.loads((folder / "baseline.json").read_text(encoding="utf-8"))
    rows = [("float model", f"{base['size_bytes'] / 1e6:.2f} MB", f"{base['test']:.2f}", "")]
    for name, cells in _grouped(folder, lambda row: row["name"].rsplit("-seed", 1)[0]).items():
        test = [float(row["test"]) for row in cells]
        gap = _over(mean(test), base["test"], 2)
        rows.append((name, f"{float(cells[0]['size_share']):.4f}x", spread(test, 2), gap))
    return markdown(["plan", "true size", "test perplexity", "over float"], rows)


def table_of_widths(folder: Path) -> str:
    """Perplexities at equal true bytes: a row for each start, budget and activations.

    A float model may stand beside them.
    """
    cells = _grouped(folder, lambda row: (*_pinned(row), float(row["width"])))
    widths = sorted({width for *_, width in cells})
    rows = []
    for kind in dict.fromkeys(key[:-1] for key in cells):
        row = [*kind]
        for width in widths:
            own = cells.get((*kind, width), [])
            row += [spread([float(each[split]) for each in own], 2) for split in ("valid", "test")]
        rows.append(row)
    columns = [f"x{width:g}, {split}" for width in widths for split in ("valid", "test")]
    return markdown(["start", "weights", "activation bits", *columns], rows)


def _pinned(row: Row) -> tuple[str, str, str]:
    """What a row of widths has in common."""
    weights = row["budget"] or f"{row['weight_bits']} bits"
    return row["start"], weights, row["activation_bits"]


GAINS = {  # study and start: what a row of the summary says of it
    ("ptb-widths", "baseline"): "Penn Treebank, float model, a quarter of an epoch",
    ("ptb-widths-long", "baseline"): "Penn Treebank, float model, four epochs with it as teacher",
    ("ptb-widths-scratch", "scratch"): "Penn Treebank, from scratch, two epochs",
    ("stdlib-widths", "baseline"): "small task, float model, one epoch",
    ("stdlib-widths-taught", "baseline"): "small task, float model, four epochs with it as teacher",
    ("stdlib-widths-long", "baseline"): "small task, float model, four epochs at 4e-3, no teacher",
    ("stdlib-widths", "scratch"): "small task, from scratch, four epochs",
    ("stdlib-widths-projected", "baseline"): "the same with a projection, float model, one epoch",
    ("stdlib-widths-projected", "scratch"): "the same with a projection, from scratch, four epochs",
}


def table_of_gains(studies: Path) -> str:
    """By how much x1.5 lies over x1 at equal bytes: test perplexity, seed by seed."""
    rows = []
    for (name, start), text in GAINS.items():
        if (studies / name).is_dir():
            gains = _gains(studies / name, start)
            own = (spread(gains.get(bits, []), sign="+") for bits in ("32", "8", "4", "2"))
            rows.append([text, *(each if each == "-" else f"{each}%" for each in own)])
    columns = "32-bit activations", "8-bit", "4-bit", "2-bit"
    return markdown(["task, start, training", *columns], rows)


def _gains(folder: Path, start: str) -> dict[str, list[float]]:
    """Percent by activation bits, one for each seed that has both widths."""
    cells = _grouped(folder, lambda row: (row["start"], row["seed"], row["activation_bits"]))
    gains: dict[str, list[float]] = {}
    for (its_start, _, bits), rows in cells.items():
        tests = {float(row["width"]): float(row["test"]) for row in rows}
        if its_start == start and {1.0, 1.5} <= set(tests):
            gains.setdefault(bits, []).append(100 * (tests[1.5] / tests[1.0] - 1))
    return gains


def table_of_searches(folder: Path) -> str:
    """The best score of the trials of each width, a row for each search."""
    found: dict[str, dict[float, float]] = {}
    for path in sorted(folder.glob("*/outcomes.csv"), key=_cell_and_budget):
        scores = found.setdefault(path.parent.name, {})
        for outcome in complete(from_csv(path.read_text(encoding="utf-8"))):
            if outcome.role == "search" and outcome.score is not None:
                width = max(choice.width for choice in outcome.plan.choices.values())
                scores[width] = min(outcome.score, scores.get(width, math.inf))
    widths = sorted({width for scores in found.values() for width in scores})
    rows = [
        [name, *(f"{scores[w]:.2f}" if w in scores else "-" for w in widths)]
        for name, scores in found.items()
    ]
    return markdown(["search", *(f"x{width:g}" for width in widths)], rows)


def _cell_and_budget(path: Path) -> tuple[str, float]:
    cell, budget = path.parent.name.split("-")
    return cell, -float(budget.removesuffix("x"))


def _grouped(folder: Path, key: Callable[[Row], K]) -> dict[K, list[Row]]:
    groups: dict[K, list[Row]] = {}
    for row in read(folder):
        groups.setdefault(key(row), []).append(row)
    return groups


TABLES = {
    "table1": table_1,
    "table2": table_2,
    "table1-bit-rnn": table_1,
    "table2-bit-rnn": table_2,
    "scratch": table_of_scratch,
    "scratch-bit-rnn": table_of_scratch,
    "plans-lstm": table_of_plans,
    "plans-gru": table_of_plans,
    "search": table_of_searches,
    "gains": table_of_gains,
    "widths": table_of_widths,
    "widths-long": table_of_widths,
    "widths-scratch": table_of_widths,
    "stdlib-widths": table_of_widths,
    "stdlib-widths-projected": table_of_widths,
    "stdlib-widths-long": table_of_widths,
    "stdlib-widths-taught": table_of_widths,
    "stdlib-widths-fixed": table_of_plans,
    "transfer": table_of_plans,
}


def write_all() -> None:
    """Write the tables of the studies that have cells."""
    for name, table in TABLES.items():
        if folder_of(name).is_dir():
            write(Path(__file__).parent / "README.md", name, table(folder_of(name)))


def folder_of(name: str) -> Path:
    """Where a table's study is kept; the gains are of several."""
    studies = Path(__file__).parents[1]
    if name == "gains":
        return studies
    return studies / (name if name.startswith("stdlib") else f"ptb-{name}")


def write(readme: Path, name: str, table: str) -> None:
    """Put a table between its two marks."""
    text = readme.read_text(encoding="utf-8")
    marks = f"<!-- {name} -->", f"<!-- end of {name} -->"
    pattern = re.compile(f"{marks[0]}.*{marks[1]}", re.DOTALL)
    text = pattern.sub(lambda _: f"{marks[0]}\n\n{table}\n{marks[1]}", text)
    readme.write_text(text, encoding="utf-8")
