from dataclasses import replace

import pytest

from autoquant.figures.heatmap import badness, draw_grid, grid_data
from autoquant.figures.study_data import View
from autoquant.figures.sweep_data import SweepFacts, means_of
from tests.figures.samples import BASELINE, cell, texts

UNIFORM = [
    *(cell(8, 8, 38.2), cell(8, 4, 38.9), cell(2, 8, 47.0), cell(2, 4, None)),
    cell(8, 8, 37.5, width=1.5),
]
FILLED = [
    *(cell(None, 8, 40.0, budget="0.1x"), cell(None, 8, 39.0, width=1.5, budget="0.1x")),
    replace(cell(None, 8, None, budget="0.05x"), state="too large", size_share=None),
]


def facts(results, baseline=BASELINE):
    return SweepFacts(baseline, means_of(results))


def test_a_panel_for_each_width():
    data = grid_data(facts(UNIFORM))
    assert data is not None
    assert [(p.title, p.down, p.rows, p.columns) for p in data.panels] == [
        ("width x1", "weight bits", ("8", "2"), ("8", "4")),
        ("width x1.5", "weight bits", ("8",), ("8",)),
    ]
    written = [[tile.text for tile in row] for row in data.panels[0].tiles]
    assert written == [["38.2", "38.9"], ["47", "diverged"]]
    shades = [tile.badness for row in data.panels[0].tiles for tile in row]
    assert shades[3] is None
    assert 0 <= shades[0] < shades[1] < shades[2] <= 1


def test_a_panel_for_each_budget():
    data = grid_data(facts(FILLED))
    assert data is not None
    assert [(p.title, p.down, p.rows) for p in data.panels] == [
        ("budget 0.1x", "width", ("x1", "x1.5")),
        ("budget 0.05x", "width", ("x1",)),
    ]
    assert [row[0].text for p in data.panels for row in p.tiles] == ["40", "39", "too large"]


def test_what_began_from_scratch_has_panels_of_its_own():
    scratch = [cell(8, 8, 41.0, start="scratch")]
    scratch.append(cell(None, 8, 42.0, budget="0.1x", start="scratch"))
    data = grid_data(facts([*UNIFORM, *FILLED, *scratch]))
    assert data is not None
    assert [panel.title for panel in data.panels] == [
        *("width x1", "width x1.5", "width x1, from scratch"),
        *("budget 0.1x", "budget 0.05x", "budget 0.1x, from scratch"),
    ]
    assert data.panels[2].tiles[0][0].text == "41"
    assert data.panels[3].tiles[0][0].text == "40"


def test_what_has_not_been_trained_yet_is_empty():
    data = grid_data(facts([cell(8, 8, 38.2), cell(2, 4, 50.0)]))
    assert data is not None
    assert [[tile.text for tile in row] for row in data.panels[0].tiles] == [
        ["38.2", ""],
        ["", "50"],
    ]


@pytest.mark.parametrize("results", [[cell(8, 8, None)], [cell(None, None, 38.0, name="mine")]])
def test_without_scores_on_a_grid_there_is_no_figure(results):
    assert grid_data(facts(results)) is None


def test_bad_is_high_or_low():
    view = View(10.0, 20.0, False, 0)
    assert [badness(score, view, "minimize") for score in (5, 10, 20, 99)] == [0, 0, 1, 1]
    assert [badness(score, view, "maximize") for score in (10, 15, 20)] == [1, 0.5, 0]
    assert badness(100.0, View(10.0, 1000.0, True, 0), "minimize") == pytest.approx(0.5)


def test_the_figure_says_what_it_shows():
    data = grid_data(facts([*UNIFORM, cell(8, 8, 38.4, seed=1)]))
    assert data is not None
    figure = draw_grid(data)
    said = texts(figure)
    assert {"width x1", "width x1.5", "38.3\n± 0.14", "diverged"} <= set(said)
    title = figure.get_suptitle()
    assert "perplexity (lower is better), validation split, mean ± deviation of 2 seeds" in title
    assert "float model: 38, 2.4 MB" in title
    assert [axes.get_xlabel() for axes in figure.axes] == ["activation bits"] * 2


def test_high_scores_may_be_the_good_ones():
    baseline = replace(BASELINE, score=0.9, metric="accuracy", direction="maximize")
    data = grid_data(facts([cell(8, 8, 0.9), cell(2, 8, 0.5)], baseline))
    assert data is not None
    first, second = (row[0].badness for row in data.panels[0].tiles)
    assert first < second
    assert "accuracy (higher is better)" in draw_grid(data).get_suptitle()
