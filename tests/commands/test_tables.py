"""Results of commands as tables: as text, and as HTML for notebooks."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoquant.commands.search import SearchResult
from autoquant.commands.sweep import SweepResult
from autoquant.study.folder import Study
from autoquant.study.noise import Difference
from autoquant.study.outcome import Outcome
from autoquant.study.selection import Selection
from tests.commands.samples import APPLIED
from tests.figures.samples import (
    BASELINE,
    FLOAT_BYTES,
    PLAN,
    REFERENCES,
    TRIALS,
    run_result,
    trial,
)

STUDY = Study(Path("runs/one"))
TRAINED = [replace(outcome, steps=10) for outcome in (*REFERENCES, *TRIALS)]


def searched(best: Outcome | None, outcomes: list[Outcome] = TRAINED) -> SearchResult:
    chosen = None if best is None else Selection(best, best, (best,), Difference(0.0, 0.0))
    return SearchResult(STUDY, BASELINE, (FLOAT_BYTES // 8,), tuple(outcomes), (chosen,))


def cells(text: object) -> list[list[str]]:
    """The lines of a text, split where two spaces or more are."""
    return [re.split(r"  +", line.strip()) for line in str(text).splitlines()]


def test_a_search_shows_scores_sizes_the_budget_the_folder_and_the_plan() -> None:
    assert str(searched(TRIALS[1])) == (
        "perplexity on the validation split, and size of the packed file\n"
        "  plan                 perplexity     size     share\n"
        "  ----------------------------------------------------\n"
        "  float baseline               38   2.4 MB   1.0000x\n"
        "  uniform 8-bit              38.1   600 kB   0.2500x\n"
        "  uniform 4-bit              38.6   300 kB   0.1250x\n"
        "  uniform 3-bit                40   225 kB   0.0938x\n"
        "  uniform 2-bit                47   150 kB   0.0625x\n"
        "  best plan, trial 1           39   288 kB   0.1200x\n"
        "budget 300000 bytes; short training, validation split\n"
        "study: runs/one\n"
        "\n"
        f"{PLAN}"
    )


def test_a_search_names_its_pareto_plot() -> None:
    figures = tuple(Path("runs/one/figures") / name for name in ("pareto.png", "pareto.svg"))
    text = str(replace(searched(None), figures=figures))
    assert text.endswith("\nstudy: runs/one\nPareto plot: runs/one/figures/pareto.png")


def test_a_search_without_a_plan_shows_none() -> None:
    text = str(searched(None))
    assert "best plan" not in text
    assert PLAN.digest not in text


@pytest.mark.parametrize(
    ("outcomes", "note"),
    [
        pytest.param([*REFERENCES, *TRIALS], "calibrated, not trained", id="no steps"),
        pytest.param(
            [*REFERENCES, replace(TRIALS[2], steps=3)], "calibrated, not trained", id="only pruned"
        ),
        pytest.param([*REFERENCES, replace(TRIALS[0], steps=3)], "short training", id="one"),
        pytest.param([trial(0, 0.1, None, "diverged")], "short training", id="none complete"),
    ],
)
def test_a_search_says_whether_plans_were_trained(outcomes: list[Outcome], note: str) -> None:
    assert f"budget 300000 bytes; {note}, validation split" in str(searched(None, outcomes))


def test_a_sweep_is_a_table() -> None:
    lost = replace(run_result(None, 8, None, budget="0.1x"), state="too large", size_bytes=None)
    results = (replace(run_result(4, 8, 38.25), test=37.5), run_result(2, 8, None), lost)
    swept = SweepResult(STUDY, BASELINE, results, missing=1)
    assert cells(swept)[1:10] == [
        ["run", "bytes", "share", "valid", "test", "state"],
        [cells(swept)[2][0]],
        ["float baseline", str(FLOAT_BYTES), "1.0000x", "38", "-"],
        ["w4-a8-x1-seed0", str(FLOAT_BYTES // 8), "0.1250x", "38.25", "37.5", "complete"],
        ["w2-a8-x1-seed0", str(FLOAT_BYTES // 16), "0.0625x", "-", "-", "diverged"],
        ["0.1x-a8-x1-seed0", "-", "-", "-", "-", "too large"],
        ["best run: w4-a8-x1-seed0"],
        ["1 run is being trained by other processes"],
        ["study: runs/one"],
    ]
    assert str(swept).endswith(f"\n\n{PLAN}")
    none = SweepResult(STUDY, BASELINE, (run_result(2, 8, None),), missing=0)
    assert "best run" not in str(none)
    assert "processes" not in str(none)
    drawn = replace(none, figures=(Path("a/grid.png"), Path("a/grid.svg"), Path("a/widths.png")))
    assert str(drawn) == f"{none}\nfigure: a/grid.png\nfigure: a/widths.png"


def test_apply_shows_the_float_model_beside_the_packed_plan() -> None:
    lines = cells(APPLIED)
    assert lines[1] == ["float baseline", "packed plan"]
    assert lines[3:9] == [
        ["perplexity, valid", "38.0000", "38.2500"],
        ["perplexity, test", "37.2500", "37.5000"],
        ["size", "2.4 MB", "290 kB"],
        ["activations read", "1.2 kB", "1.2 kB"],
        ["MACs", "4,000,000", "5,000,000"],
        ["bit-operations", "80,000,000", "80,000,000"],
    ]
    assert str(APPLIED).splitlines()[9:14] == [
        "trained for 10 steps",
        "of the file: 280 kB layers, 7 kB norms, 1 kB uncovered tensors, 0 B assets, 2 kB header",
        "the file has 290000 bytes, 0.1208x; activations and operations are for one position; the "
        "paper's neuron-proportional size would be 0.1234x",
        "packed file: runs/one/applied/plan-1/model.safetensors",
        "",
    ]
    assert str(APPLIED).endswith(f"\n\n{PLAN}")


def test_apply_says_where_nothing_was_trained() -> None:
    assert "calibrated, not trained" in cells(replace(APPLIED, steps=0))[9]
    assert "of the file" not in str(replace(APPLIED, breakdown=None))


@pytest.mark.parametrize(
    "result",
    [
        pytest.param(searched(TRIALS[1]), id="search"),
        pytest.param(SweepResult(STUDY, BASELINE, (run_result(4, 8, 38.0),), 0), id="sweep"),
        pytest.param(APPLIED, id="apply"),
    ],
)
def test_a_notebook_shows_the_same_cells(result: Any) -> None:
    shown = result._repr_html_()
    for table in result.tables:
        for text in (table.title, *(cell for row in table.rows for cell in row), *table.notes):
            assert text.replace("'", "&#x27;") in shown
    assert len(result.tables) == shown.count("<table>") == 2
