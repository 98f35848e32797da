"""Names of many points that lie close together."""

from dataclasses import replace

import matplotlib
import pytest

from autoquant.figures.curves import draw_sizes, size_curves
from autoquant.figures.page import COLUMN, PAGE
from autoquant.figures.pareto import draw_pareto
from autoquant.figures.pareto_points import pareto_data
from tests.figures.samples import REFERENCES, overlapping, run_result, study_data, trial, uniform
from tests.figures.test_heatmap import sweep_data

CLOSE = [trial(i, 0.11 + 0.001 * (i % 7), 38.6 + 0.05 * (i % 5)) for i in range(20)]
NAMED = [
    replace(
        run_result(None, None, 38.0 + 0.04 * i, name=f"plan-{i}"),
        size_share=0.1 + 0.002 * (i % 4),
        size_bytes=240_000,
    )
    for i in range(10)
]


def draw_references(page):
    close = [uniform(bits, 38.5 + 0.05 * bits) for bits in (3, 4, 5, 6)]
    return draw_pareto(pareto_data(study_data([*REFERENCES, *close, *CLOSE], (0.124, 0.11))), page)


def draw_plan_files(page):
    data = size_curves(sweep_data([*NAMED, run_result(4, 8, 38.1)]))
    assert data is not None
    return draw_sizes(data, page)


@pytest.mark.parametrize("page", [PAGE, COLUMN], ids=lambda page: page.name)
@pytest.mark.parametrize("draw", [draw_references, draw_plan_files])
def test_names_do_not_overlap_and_stay_inside(draw, page):
    with matplotlib.rc_context(page.settings):
        figure = draw(page)
        figure.draw_without_rendering()
        assert overlapping(figure) == []
        figure.axes[0].text(*figure.axes[0].texts[-1].get_position(), "on another")
        assert len(overlapping(figure)) > 0
    axes = figure.axes[0]
    inside = axes.get_window_extent().padded(2)
    for text in axes.texts[:-1]:
        box = text.get_window_extent()
        assert inside.x0 <= box.x0
        assert box.x1 <= inside.x1


def test_names_have_the_same_places_each_time():
    first, second = (
        [text.get_position() for text in draw_plan_files(PAGE).axes[0].texts] for _ in range(2)
    )
    assert first == second
