"""The tables of word error rates in README.md, from the ``errors.csv`` of the studies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import mean, stdev

from autoquant.tasks.speech.error_rates import RateDifference, bootstrap_difference
from studies.markdown import table_of
from studies.speech.errors import RunErrors, by_group, pooled, read

TARGETS = {"0.25x": 0.0, "0.125x": 0.005, "0.0625x": 0.015}
"""Largest increase of the word error rate at each budget."""
RIVALS = {
    "0.25x": ("w8-a8-x1", "w7-a8-x1.25"),
    "0.125x": ("w4-a8-x1", "w3-a8-x1.25"),
    "0.0625x": ("w2-a8-x1", "w1.6-a8-x1.25"),
}
"""Uniform bits and the paper's recipe at about the bytes of each budget."""
PAPER_TABLE3 = {
    "w8-a32-x1": "+3.3%",
    "w8-a32-x1.25": "+2.1%",
    "w8-a32-x1.5": "-1.7%",
    "w4-a32-x1": "+5.9%",
    "w4-a32-x1.25": "+3.4%",
    "w4-a32-x1.5": "-",
}
PAPER_TABLE4 = {"w32-a8-x1": "+0.4%", "w32-a4-x1": "+2.1%"}
FLOAT = "w32-a32-x1"
HEAD = ["runs", "true size", "WER", "test set alone", "CER", "CTC loss", "change of WER (90%)"]

Groups = Mapping[str, list[RunErrors]]
"""The runs of each plan."""


def table3(folder: Path, float_folder: Path) -> str:
    """Table 3: linear layers with few bits, three of them wider.

    Args:
        folder: of the study.
        float_folder: of the study that has the float model, trained on for as long.
    """
    return _table(by_group(read(folder)), _float_runs(float_folder), PAPER_TABLE3)


def table4(folder: Path) -> str:
    """Table 4: activations of the LSTM with few bits.

    Args:
        folder: of the study.
    """
    groups = by_group(read(folder))
    return _table(groups, groups[FLOAT], PAPER_TABLE4)


def plans_table(folder: Path) -> str:
    """The plans of the search beside uniform bits and the paper's recipe, with a verdict.

    Args:
        folder: of the study, with the float model trained on for as long.
    """
    groups = by_group(read(folder))
    baseline = groups.pop(FLOAT)
    rows = [_row("float", baseline, None)]
    for name, runs in groups.items():
        difference = _difference(runs, baseline)
        budget = name.rsplit("-", 1)[-1]
        verdict = difference.verdict(TARGETS[budget]) if budget in TARGETS else "-"
        target = f"{TARGETS[budget]:+.1%}: {verdict}" if budget in TARGETS else "-"
        rows.append([*_row(name, runs, difference), target])
    rows[0].append("-")
    return table_of(["plan", *HEAD, "target"], rows)


def rivals_table(folder: Path) -> str:
    """The plans of the search minus uniform bits and the paper's recipe of about equal bytes.

    Args:
        folder: of the study.
    """
    groups, rows = by_group(read(folder)), []
    for name, runs in groups.items():
        for rival in RIVALS.get(name.rsplit("-", 1)[-1], ()):
            others = groups[rival]
            difference = _difference(runs, others)
            sizes = f"{runs[0].size_share:.4f}x", f"{others[0].size_share:.4f}x"
            rows.append([name, sizes[0], rival, sizes[1], _points(difference)])
    return table_of(["plan", "true size", "rival", "true size", "WER of the plan minus"], rows)


def _difference(runs: list[RunErrors], others: list[RunErrors]) -> RateDifference:
    """The difference of two plans over the seeds that both have.

    Args:
        runs: of a plan.
        others: of the one that it is compared with.
    """
    seeds = {run.seed for run in runs} & {run.seed for run in others}
    both = ([run for run in each if run.seed in seeds] for each in (runs, others))
    return bootstrap_difference(*map(pooled, both))


def _float_runs(folder: Path) -> list[RunErrors]:
    """The runs of the float model, trained on."""
    return by_group(read(folder))[FLOAT]


def _table(groups: Groups, baseline: list[RunErrors], paper: Mapping[str, str]) -> str:
    """Plans beside the paper's values.

    Args:
        groups: by the plan's name.
        baseline: runs of the float model.
        paper: its changes, by the plan's name.
    """
    rows = [[*_row("float", baseline, None), "-", "-"]]
    for name, value in paper.items():
        if name in groups:
            difference = _difference(groups[name], baseline)
            relative = difference.value / pooled(baseline).wer
            rows.append([*_row(name, groups[name], difference), f"{relative:+.1%}", value])
    return table_of(["plan", *HEAD, "relative", "the paper"], rows)


def _row(name: str, runs: list[RunErrors], difference: RateDifference | None) -> list[str]:
    """What a table says of a plan.

    Args:
        name: of the plan.
        runs: one for each seed.
        difference: to the float model; None: it is that.
    """
    return [
        *(name, str(len(runs)), f"{runs[0].size_share:.4f}x"),
        _spread([run.rates.wer for run in runs]),
        _spread([run.wer_test for run in runs]),
        f"{pooled(runs).cer:.2%}",
        f"{mean(run.loss for run in runs):.3f}",
        "-" if difference is None else _points(difference),
    ]


def _spread(values: list[float]) -> str:
    """A mean with the deviation over the seeds."""
    return f"{mean(values):.2%}" + (f" ± {stdev(values):.2%}" if len(values) > 1 else "")


def _points(difference: RateDifference) -> str:
    """A difference in percentage points, with its interval."""
    value, low, high = (100 * each for each in (difference.value, difference.low, difference.high))
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}] points"
