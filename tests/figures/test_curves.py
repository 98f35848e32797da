from dataclasses import replace

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from autoquant.figures.curves import (
    MARKERS,
    PLANS,
    CurvePoint,
    draw_sizes,
    draw_widths,
    size_curves,
    width_curves,
)
from tests.figures.samples import run_result, texts
from tests.figures.test_heatmap import FILLED, UNIFORM, sweep_data


def test_a_curve_over_sizes_for_each_width_and_activation_bits():
    data = size_curves(sweep_data([*UNIFORM, run_result(8, 8, 38.4, seed=1)]))
    assert data is not None
    assert [curve.label for curve in data.curves] == [
        "width x1, 8-bit activations",
        "width x1, 4-bit activations",
        "width x1.5, 8-bit activations",
    ]
    assert [point.x for point in data.curves[0].points] == pytest.approx([2 / 32, 8 / 32])
    assert data.curves[0].points[1].score == pytest.approx(38.3)
    assert data.curves[0].points[1].deviation == pytest.approx(0.02**0.5)
    assert data.curves[0].points[0].deviation == 0.0
    assert data.undrawn == ("1 diverged",)
    assert data.limits[0] < 2 / 32 < 12 / 32 < data.limits[1]
    assert data.seeds == 2


def test_one_width_needs_no_name():
    data = size_curves(sweep_data([run_result(8, 8, 38.2), run_result(4, 8, 39.0)]))
    assert data is not None
    assert [curve.label for curve in data.curves] == ["8-bit activations"]


def test_plan_files_have_a_series_of_their_own():
    mine = run_result(None, None, 38.1, name="mine")
    data = size_curves(sweep_data([*UNIFORM, mine]))
    assert data is not None
    assert [curve.label for curve in data.curves if not curve.joined] == [PLANS]


def test_plan_files_are_named_in_the_figure():
    data = size_curves(sweep_data([run_result(None, None, 38.1, name="mine"), *UNIFORM]))
    assert data is not None
    written = [text.get_text() for text in draw_sizes(data).axes[0].texts]
    assert written == ["mine"]


def test_what_began_from_scratch_has_a_curve_of_its_own():
    more = [run_result(None, 8, 44.0, budget="0.1x", init_from="scratch")]
    data = width_curves(sweep_data(FILLED + more))
    assert data is not None
    assert [curve.label for curve in data.curves] == ["budget 0.1x", "budget 0.1x, from scratch"]


def test_a_curve_over_widths_for_each_budget():
    data = width_curves(sweep_data(FILLED))
    assert data is not None
    (curve,) = data.curves
    assert curve.label == "budget 0.1x"
    assert curve.points == (CurvePoint(1.0, 40.0), CurvePoint(1.5, 39.0))
    assert data.undrawn == ("1 too large",)
    assert width_curves(sweep_data(UNIFORM)) is None


def test_budgets_are_told_apart_by_activations_too():
    more = [run_result(None, 4, 41.0, budget="0.1x")]
    data = width_curves(sweep_data(FILLED + more))
    assert data is not None
    assert [curve.label for curve in data.curves] == [
        "budget 0.1x, 8-bit activations",
        "budget 0.1x, 4-bit activations",
    ]


def test_without_scores_there_are_no_curves():
    assert size_curves(sweep_data([run_result(4, 8, None)])) is None


def test_the_figures_say_what_they_show():
    data = size_curves(
        sweep_data([*UNIFORM, run_result(8, 8, 38.4, seed=1), run_result(None, None, 39, name="m")])
    )
    assert data is not None
    figure = draw_sizes(data)
    said = texts(figure)
    assert {"float model: 38, 2.4 MB", "not drawn: 1 diverged", PLANS} <= set(said)
    assert "score against true size; bars: standard deviation of 2 seeds" in said
    assert figure.axes[0].get_xscale() == "log"
    widths = width_curves(sweep_data(FILLED))
    assert widths is not None
    axes = draw_widths(widths).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["x1", "x1.5"]
    assert axes.figure.get_suptitle() == "score against width, at equal true size"


def test_more_curves_than_colours():
    many = [run_result(4, 8, 38.0 + width, width=width) for width in (1.0, 1.1, 1.2, 1.3, 1.4, 1.5)]
    data = size_curves(sweep_data([*many, replace(many[0], valid=99.0)]))
    assert data is not None
    lines = draw_sizes(data).axes[0].get_lines()
    assert {line.get_linestyle() for line in lines} >= {"-", "--"}


def test_curves_of_one_plan_can_be_told_apart():
    widths = [1 + place / 10 for place in range(30)]
    data = size_curves(
        sweep_data([run_result(4, 8, 38.0 + width, width=width) for width in widths])
    )
    assert data is not None
    lines = [line for line in draw_sizes(data).axes[0].get_lines() if line.get_marker() in MARKERS]
    looks = [(line.get_marker(), line.get_color()) for line in lines]
    assert len(set(looks)) == len(looks) == 30


def test_a_width_of_many_digits_is_rounded():
    data = size_curves(sweep_data([run_result(4, 8, 38.0), run_result(4, 8, 37.0, width=3.33333)]))
    assert data is not None
    assert [curve.label[:12].strip() for curve in data.curves] == ["width x1, 8-", "width x3.333"]


@pytest.mark.parametrize(
    ("budget", "init_from"),
    [("0.1x", "baseline"), ("0.125x", "baseline"), ("0.1x", "scratch"), ("0.0625x", "scratch")],
)
def test_the_legend_is_inside_the_figure(budget, init_from):
    results = [
        run_result(None, bits, 44.0, budget=budget, init_from=init_from) for bits in (16, 32, 8, 4)
    ]
    data = width_curves(sweep_data(results))
    assert data is not None
    figure = draw_widths(data)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    box = figure.legends[0].get_window_extent(canvas.get_renderer())
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
