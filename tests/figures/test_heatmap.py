from dataclasses import replace

import pytest

from autoquant.figures.heatmap import badness, draw_heatmap, heatmap_data
from autoquant.figures.score_view import ScoreView
from autoquant.figures.sweep_data import SweepData, swept_plans
from tests.figures.samples import BASELINE, run_result, texts

UNIFORM = [
    *(
        run_result(8, 8, 38.2),
        run_result(8, 4, 38.9),
        run_result(2, 8, 47.0),
        run_result(2, 4, None),
    ),
    run_result(8, 8, 37.5, width=1.5),
]
FILLED = [
    *(
        run_result(None, 8, 40.0, budget="0.1x"),
        run_result(None, 8, 39.0, width=1.5, budget="0.1x"),
    ),
    replace(run_result(None, 8, None, budget="0.05x"), state="too large", size_share=None),
]


def sweep_data(results, baseline=BASELINE):
    return SweepData(baseline, swept_plans(results))


def test_a_heat_map_for_each_width():
    data = heatmap_data(sweep_data(UNIFORM))
    assert data is not None
    assert [(h.title, h.row_axis, h.rows, h.columns) for h in data.heatmaps] == [
        ("width x1", "weight bits", ("8", "2"), ("8", "4")),
        ("width x1.5", "weight bits", ("8",), ("8",)),
    ]
    written = [[cell.text for cell in row] for row in data.heatmaps[0].cells]
    assert written == [["38.20", "38.90"], ["47.00", "diverged"]]
    shades = [cell.badness for row in data.heatmaps[0].cells for cell in row]
    assert shades[3] is None
    assert 0 <= shades[0] < shades[1] < shades[2] <= 1


def test_a_heat_map_for_each_budget():
    data = heatmap_data(sweep_data(FILLED))
    assert data is not None
    assert [(h.title, h.row_axis, h.rows) for h in data.heatmaps] == [
        ("budget 0.1x", "width", ("x1", "x1.5")),
        ("budget 0.05x", "width", ("x1",)),
    ]
    assert [row[0].text for h in data.heatmaps for row in h.cells] == [
        "40.00",
        "39.00",
        "too large",
    ]


def test_what_began_from_scratch_has_heat_maps_of_its_own():
    scratch = [run_result(8, 8, 41.0, init_from="scratch")]
    scratch.append(run_result(None, 8, 42.0, budget="0.1x", init_from="scratch"))
    data = heatmap_data(sweep_data([*UNIFORM, *FILLED, *scratch]))
    assert data is not None
    assert [heatmap.title for heatmap in data.heatmaps] == [
        *("width x1", "width x1.5", "width x1, from scratch"),
        *("budget 0.1x", "budget 0.05x", "budget 0.1x, from scratch"),
    ]
    assert data.heatmaps[2].cells[0][0].text == "41.00"
    assert data.heatmaps[3].cells[0][0].text == "40.00"


def test_what_has_not_been_trained_yet_is_empty():
    data = heatmap_data(sweep_data([run_result(8, 8, 38.2), run_result(2, 4, 50.0)]))
    assert data is not None
    assert [[cell.text for cell in row] for row in data.heatmaps[0].cells] == [
        ["38.20", ""],
        ["", "50.00"],
    ]


@pytest.mark.parametrize(
    "results", [[run_result(8, 8, None)], [run_result(None, None, 38.0, name="mine")]]
)
def test_without_scores_on_a_grid_there_is_no_figure(results):
    assert heatmap_data(sweep_data(results)) is None


def test_bad_is_high_or_low():
    view = ScoreView(10.0, 20.0, False, 0)
    assert [badness(score, view, "minimize") for score in (5, 10, 20, 99)] == [0, 0, 1, 1]
    assert [badness(score, view, "maximize") for score in (10, 15, 20)] == [1, 0.5, 0]
    assert badness(100.0, ScoreView(10.0, 1000.0, True, 0), "minimize") == pytest.approx(0.5)


def test_the_figure_says_what_it_shows():
    data = heatmap_data(sweep_data([*UNIFORM, run_result(8, 8, 38.4, seed=1)]))
    assert data is not None
    figure = draw_heatmap(data)
    said = texts(figure)
    assert {"width x1", "width x1.5", "38.30\n± 0.14", "diverged"} <= set(said)
    title = figure.get_suptitle()
    assert (
        "perplexity on the validation split (lower is better), mean ± deviation of 2 seeds" in title
    )
    assert "float model: 38, 2.4 MB" in title
    assert [axes.get_xlabel() for axes in figure.axes[:2]] == ["activation bits"] * 2
    assert figure.axes[2].get_ylabel() == "perplexity\ndarker is worse"


def test_high_scores_may_be_the_good_ones():
    baseline = replace(BASELINE, score=0.9, metric="accuracy", direction="maximize")
    data = heatmap_data(sweep_data([run_result(8, 8, 0.9), run_result(2, 8, 0.5)], baseline))
    assert data is not None
    first, second = (row[0].badness for row in data.heatmaps[0].cells)
    assert first < second
    assert (
        "accuracy on the validation split (higher is better)" in draw_heatmap(data).get_suptitle()
    )
