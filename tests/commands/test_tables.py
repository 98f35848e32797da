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
    RUNG_REFERENCES,
    RUNG_TRIALS,
    TRIALS,
    run_result,
)

STUDY = Study(Path("runs/one"))
TRAINED = [replace(outcome, steps=10) for outcome in (*REFERENCES, *TRIALS)]
BEST = replace(TRIALS[1], steps=10)


def searched(best: Outcome | None, outcomes: list[Outcome] = TRAINED) -> SearchResult:
    chosen = None if best is None else Selection(best, best, (best,), Difference(0.0, 0.0))
    return SearchResult(STUDY, BASELINE, (FLOAT_BYTES // 8,), tuple(outcomes), (chosen,))


def cells(text: object) -> list[list[str]]:
    """The lines of a text, split where two spaces or more are."""
    return [re.split(r"  +", line.strip()) for line in str(text).splitlines()]


def test_a_search_shows_scores_sizes_the_budget_the_folder_and_the_plan() -> None:
    assert str(searched(BEST, [*REFERENCES, BEST])) == (
        "perplexity on the validation split, and size of the packed file\n"
        "  plan                 perplexity     size     share                     steps\n"
        "  ------------------------------------------------------------------------------\n"
        "  float baseline               38   2.4 MB   1.0000x\n"
        "  uniform 8-bit              38.1   600 kB   0.2500x   calibrated, not trained\n"
        "  uniform 4-bit              38.6   300 kB   0.1250x   calibrated, not trained\n"
        "  uniform 3-bit                40   225 kB   0.0938x   calibrated, not trained\n"
        "  uniform 2-bit                47   150 kB   0.0625x   calibrated, not trained\n"
        "  best plan, trial 1           39   288 kB   0.1200x                        10\n"
        "budget 300000 bytes: trial 1, 288000 bytes\n"
        "study: runs/one\n"
        "\n"
        f"{PLAN}"
    )


def test_a_search_names_its_pareto_plot() -> None:
    figures = tuple(Path("runs/one/figures") / name for name in ("pareto.png", "pareto.svg"))
    text = str(replace(searched(None, REFERENCES), figures=figures))
    assert text.endswith("\nstudy: runs/one\nPareto plot: runs/one/figures/pareto.png")


def test_a_search_without_a_plan_shows_none() -> None:
    text = str(searched(None))
    assert "budget 300000 bytes: no plan within it has a score within the bound" in text
    assert "best plan" not in text
    assert PLAN.digest not in text


def test_a_search_shows_the_front_where_it_has_several_plans() -> None:
    lines = cells(searched(BEST))
    start = lines.index(["Pareto front of perplexity (valid) and size, on the last rung"])
    assert lines[start + 3 : start + 5] == [
        ["trial 0", "264 kB", "0.1100x", "41"],
        ["trial 1", "288 kB", "0.1200x", "39"],
    ]
    assert lines[start + 5][0].startswith("hypervolume 0.")
    assert lines[start + 6] == ["level with the best of the front down to 0.120x"]
    assert "Pareto front" not in str(searched(BEST, [*REFERENCES, BEST]))


def test_a_search_shows_the_noise_and_what_is_within_it() -> None:
    first, better = RUNG_TRIALS[0], RUNG_TRIALS[3]
    level = Selection(better, first, (better, first), Difference(1.1, 0.16))
    result = SearchResult(
        STUDY, BASELINE, (FLOAT_BYTES // 8,), (*RUNG_REFERENCES, *RUNG_TRIALS), (level,)
    )
    lines = [" ".join(line) for line in cells(result)]
    budget = lines.index("budget 300000 bytes: trial 3, 283200 bytes")
    assert lines[budget + 1 : budget + 3] == [
        "better than the first plan by 1.1 (standard error 0.16)",
        "within the noise of it: trial 0",
    ]
    assert "first plan, trial 0 39 ± 0.12 288 kB 0.1200x 1200" in lines  # 0.2 of 3 orders
    assert "best plan, trial 3 37.9 ± 0.12 283 kB 0.1180x 1200" in lines
    deviation = "noise of one training of 1200 steps: 0.2 perplexity"
    assert any(line.startswith(deviation) for line in lines)


def test_a_sweep_is_a_table() -> None:
    lost = replace(run_result(None, 8, None, budget="0.1x"), state="too large", size_bytes=None)
    results = (replace(run_result(4, 8, 38.25), test=37.5), run_result(2, 8, None), lost)
    swept = SweepResult(STUDY, BASELINE, results)
    assert cells(swept)[1:9] == [
        ["run", "bytes", "share", "valid", "test", "state"],
        [cells(swept)[2][0]],
        ["float baseline", str(FLOAT_BYTES), "1.0000x", "38", "-"],
        ["w4-a8-x1-seed0", str(FLOAT_BYTES // 8), "0.1250x", "38.25", "37.5", "complete"],
        ["w2-a8-x1-seed0", str(FLOAT_BYTES // 16), "0.0625x", "-", "-", "diverged"],
        ["0.1x-a8-x1-seed0", "-", "-", "-", "-", "too large"],
        ["best run: w4-a8-x1-seed0"],
        ["study: runs/one"],
    ]
    assert str(swept).endswith(f"\n\n{results[0].run.plan}")
    none = SweepResult(STUDY, BASELINE, (run_result(2, 8, None),))
    assert "best run" not in str(none)
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
        pytest.param(searched(BEST, [*REFERENCES, BEST]), id="search"),
        pytest.param(SweepResult(STUDY, BASELINE, (run_result(4, 8, 38.0),)), id="sweep"),
        pytest.param(APPLIED, id="apply"),
    ],
)
def test_a_notebook_shows_the_same_cells(result: Any) -> None:
    shown = result._repr_html_()
    for table in result.tables:
        for text in (table.title, *(cell for row in table.rows for cell in row), *table.notes):
            assert text.replace("'", "&#x27;") in shown
    assert len(result.tables) == shown.count("<table>") == 2
