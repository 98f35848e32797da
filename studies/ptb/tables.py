"""The tables of README.md, from the results that ``autoquant sweep`` and ``search`` wrote."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import TypeVar

from autoquant.study.folder import Study
from autoquant.study.outcome import complete
from autoquant.study.sweep_table import SweepRunResult, SweepTable
from studies.markdown import table_of, write_between_marks
from studies.ptb.paper import BITS, BY_NEURONS, NEURONS, TABLE_1, TABLE_2

K = TypeVar("K", bound=Hashable)
Setting = tuple[int, int, int]
"""Weight bits, activation bits and neurons."""
UNITS = 300
"""Neurons before widening."""


def read(folder: Path) -> list[SweepRunResult]:
    """The complete runs of a sweep."""
    results = SweepTable.of(Study(folder)).results()
    return [result for result in results if result.state == "complete"]


def spread(values: Sequence[float], digits: int = 1, sign: str = "") -> str:
    """The mean, and with several values their standard deviation.

    Args:
        values: one for each seed.
        digits: after the decimal point.
        sign: "+" writes a plus before positive numbers.
    """
    if not values:
        return "-"
    text = f"{mean(values):{sign}.{digits}f}"
    return text if len(values) == 1 else f"{text} ± {stdev(values):.{digits}f}"


def _over(value: float, base: float, digits: int = 1) -> str:
    """By how many percent a value is above another.

    Args:
        value: to compare.
        base: what it is compared with.
        digits: after the decimal point.
    """
    return f"{100 * (value / base - 1):+.{digits}f}%"


def table_1(folder: Path) -> str:
    """Test perplexity of weights x activations, ours / the paper's; sizes at the edges."""
    groups = _grouped(folder, lambda r: (r.run.weight_bits, r.run.activation_bits))
    rows = []
    for weights in BITS:
        scores = [f"{_tests(groups, (weights, a))} / {TABLE_1[weights, a]}" for a in BITS]
        of_row = next((groups[weights, a] for a in BITS if (weights, a) in groups), [])
        rows.append([str(weights), *scores, _sizes(of_row)])
    columns = ([groups[w, a][0] for w in BITS if (w, a) in groups] for a in BITS)
    rows.append(["activations", *map(_activation_bytes, columns), ""])
    return table_of(["weights \\ activations", *map(str, BITS), "size: true (k/32)"], rows)


def table_2(folder: Path) -> str:
    """Test perplexity, true size and the paper's k/32 of bits x neurons, ours / the paper's."""
    groups = _grouped(folder, _setting)
    rows = []
    for weights, activations in dict.fromkeys(key[:2] for key in TABLE_2):
        row = [f"{weights} x {activations}"]
        for neurons in NEURONS:
            key = weights, activations, neurons
            results = groups.get(key, [])
            row.append(f"{_tests(groups, key)} / {TABLE_2[key]}")
            row.append(f"{_sizes(results)}; {_activation_bytes(results)}" if results else "-")
        rows.append(row)
    head = ["weights x activations"]
    for neurons in NEURONS:
        head += [f"{neurons} neurons", "size: true (k/32); activations"]
    return table_of(head, rows)


def table_of_scratch(folder: Path) -> str:
    """Low precision from the first step: test perplexity, and by how much it is above float.

    The folders of table 1 and table 2 beside ``folder`` give the same for the runs that start from
    the float model.
    """
    tests, base = _tests_by_setting(folder)
    from_float: dict[Setting, str] = {}
    for table in ("table1", "table2"):
        neighbour = folder.with_name(folder.name.replace("scratch", table))
        if neighbour.is_dir():
            their_tests, their_base = _tests_by_setting(neighbour)
            from_float |= {key: _over(test, their_base) for key, test in their_tests.items()}
    rows = [["32 x 32", str(UNITS), f"{base:.1f}", "", "", ""]]
    for key in sorted(tests, key=lambda key: (-key[0], key[2])):
        weights, activations, neurons = key
        paper = _over(BY_NEURONS[key], TABLE_1[32, 32]) if key in BY_NEURONS else "-"
        row = [f"{weights} x {activations}", str(neurons), f"{tests[key]:.1f}"]
        rows.append([*row, _over(tests[key], base), from_float.get(key, "-"), paper])
    head = ["weights x activations", "neurons", "test perplexity", f"over float of {UNITS}"]
    return table_of([*head, "from the float model, over it", "the paper, over its float"], rows)


def _tests_by_setting(folder: Path) -> tuple[dict[Setting, float], float]:
    """Mean test perplexities by bits and neurons, and the float model's."""
    groups = _grouped(folder, _setting)
    return {key: mean(_test_scores(results)) for key, results in groups.items()}, _float_test(
        folder
    )


def _float_test(folder: Path) -> float:
    """The float model's test perplexity."""
    test = Study(folder).baseline().test
    assert test is not None
    return test


def _setting(result: SweepRunResult) -> Setting:
    run = result.run
    assert run.weight_bits is not None
    assert run.activation_bits is not None
    assert run.width is not None
    return int(run.weight_bits), run.activation_bits, round(run.width * UNITS)


def _test_scores(results: Sequence[SweepRunResult]) -> list[float]:
    return [result.test for result in results if result.test is not None]


def _tests(groups: Mapping[K, Sequence[SweepRunResult]], key: K) -> str:
    return spread(_test_scores(groups.get(key, [])))


def _sizes(results: Sequence[SweepRunResult]) -> str:
    """A packed file's share of the float model's bytes, and the paper's number for it."""
    return f"{results[0].size_share:.3f}x ({results[0].paper_size_ratio:.3f}x)" if results else "-"


def _activation_bytes(results: Sequence[SweepRunResult]) -> str:
    """Bytes of the activations of one time step."""
    return f"{results[0].activation_bytes:.0f} B" if results else "-"


def table_of_plans(folder: Path) -> str:
    """Test perplexity and true size of plans, each also over the float model's."""
    base, base_test = Study(folder).baseline(), _float_test(folder)
    rows = [["float model", f"{base.size_bytes / 1e6:.2f} MB", f"{base_test:.2f}", ""]]
    for name, results in _grouped(folder, lambda result: result.run.group).items():
        tests = _test_scores(results)
        over = _over(mean(tests), base_test, 2)
        rows.append([name, f"{results[0].size_share:.4f}x", spread(tests, 2), over])
    return table_of(["plan", "true size", "test perplexity", "over float"], rows)


def table_of_targets(folder: Path) -> str:
    """Plans that learned the float model's predictions, beside that model."""
    base, base_test = Study(folder).baseline(), _float_test(folder)
    rows = [["float model", "1x", f"{base.score:.2f}", f"{base_test:.2f}", "", ""]]
    for name, results in _grouped(folder, lambda result: result.run.group).items():
        valid = [result.valid for result in results if result.valid is not None]
        over = _over(mean(valid), base.score, 2), _over(mean(_test_scores(results)), base_test, 2)
        rows.append([name, f"{results[0].size_share:.4f}x", *_valid_and_test(results), *over])
    head = ["plan", "true size", "validation", "test", "validation over float", "test over float"]
    return table_of(head, rows)


def _valid_and_test(results: Sequence[SweepRunResult]) -> list[str]:
    """Perplexities on both splits."""
    valid = [result.valid for result in results if result.valid is not None]
    return [spread(valid, 2), spread(_test_scores(results), 2)]


def table_of_widths(folder: Path) -> str:
    """Perplexities at equal true bytes: a row for each start, budget and activation bits.

    A float model may be beside them.
    """
    groups = _grouped(folder, lambda result: (_row_head(result), result.run.width or 1.0))
    widths = sorted({width for _, width in groups})
    rows = []
    for head in dict.fromkeys(head for head, _ in groups):
        row = [*head]
        for width in widths:
            results = groups.get((head, width), [])
            row += _valid_and_test(results)
        rows.append(row)
    columns = [f"x{width:g}, {split}" for width in widths for split in ("valid", "test")]
    return table_of(["start", "weights", "activation bits", *columns], rows)


def _row_head(result: SweepRunResult) -> tuple[str, str, str]:
    """What the results in a row of ``table_of_widths`` have in common."""
    run = result.run
    return run.init_from, run.budget or f"{run.weight_bits:g} bits", str(run.activation_bits)


GAINS = {
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
"""The study and what its runs start from -> the name of the row in ``table_of_gains``."""


def table_of_gains(studies: Path) -> str:
    """By how much the perplexity of x1.5 is above that of x1 at equal bytes, seed by seed."""
    rows = []
    for (name, init_from), text in GAINS.items():
        if (studies / name).is_dir():
            gains = _gains(studies / name, init_from)
            spreads = (spread(gains.get(bits, []), sign="+") for bits in (32, 8, 4, 2))
            rows.append([text, *(gain if gain == "-" else f"{gain}%" for gain in spreads)])
    columns = "32-bit activations", "8-bit", "4-bit", "2-bit"
    return table_of(["task, start, training", *columns], rows)


def _gains(folder: Path, init_from: str) -> dict[int | None, list[float]]:
    """Percents by activation bits, one for each seed that was trained at both widths."""
    groups = _grouped(folder, lambda r: (r.run.init_from, r.run.seed, r.run.activation_bits))
    gains: dict[int | None, list[float]] = {}
    for (start, _, bits), results in groups.items():
        tests = {result.run.width: result.test for result in results}
        narrow, wide = tests.get(1.0), tests.get(1.5)
        if start == init_from and narrow is not None and wide is not None:
            gains.setdefault(bits, []).append(100 * (wide / narrow - 1))
    return gains


def table_of_searches(folder: Path) -> str:
    """The best score of the trials of each width, a row for each search."""
    best: dict[str, dict[float, float]] = {}
    for study in sorted(folder.glob("*-*"), key=_cell_and_budget):
        scores = best.setdefault(study.name, {})
        for outcome in complete(Study(study).outcomes()):
            if outcome.role == "search" and outcome.score is not None:
                width = max(choice.width for choice in outcome.plan.choices.values())
                scores[width] = min(outcome.score, scores.get(width, math.inf))
    widths = sorted({width for scores in best.values() for width in scores})
    rows = [
        [name, *(f"{scores[w]:.2f}" if w in scores else "-" for w in widths)]
        for name, scores in best.items()
    ]
    return table_of(["search", *(f"x{width:g}" for width in widths)], rows)


def _cell_and_budget(study: Path) -> tuple[str, float]:
    """Sorts searches by their cell, and those of a cell from the largest budget to the smallest."""
    cell, budget = study.name.split("-")
    return cell, -float(budget.removesuffix("x"))


def _grouped(folder: Path, key: Callable[[SweepRunResult], K]) -> dict[K, list[SweepRunResult]]:
    """The complete runs of a sweep that have the same key together."""
    groups: dict[K, list[SweepRunResult]] = {}
    for result in read(folder):
        groups.setdefault(key(result), []).append(result)
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
    "targets-lstm": table_of_targets,
    "targets-gru": table_of_targets,
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
    """Write the tables of the studies that exist into README.md."""
    for name, table in TABLES.items():
        if folder_of(name).is_dir():
            readme = Path(__file__).parent / "README.md"
            write_between_marks(readme, name, table(folder_of(name)))


def folder_of(name: str) -> Path:
    """The study of a table; that of the gains is of several studies, in the folder of them all."""
    studies = Path(__file__).parents[1]
    if name == "gains":
        return studies
    return studies / (name if name.startswith("stdlib") else f"ptb-{name}")
