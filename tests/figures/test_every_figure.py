"""Every figure in both widths, of models with many layers: what a reader must be able to read."""

from dataclasses import replace

import matplotlib
import pytest

from autoquant.analysis.sensitivity import Sensitivity
from autoquant.figures.page import COLUMN, PAGE, settle
from autoquant.figures.study_figures import figures_of
from autoquant.files import write_text
from autoquant.plan import LayerChoice, Plan
from tests.figures.samples import (
    RUNG_REFERENCES,
    RUNG_TRIALS,
    overlapping,
    profiled,
    run_result,
    study_of,
    sweep_of,
    texts_of,
    write_profile,
)

LAYERS = [f"blocks.{i}.attention.out_proj" for i in range(100)]
SEARCHED, SWEPT = ("pareto", "plan", "history", "sensitivity"), ("grid", "curves", "widths")


def many_layers(path):
    """A search of a model of 100 layers, with several budgets."""
    plan = Plan.uniform(LAYERS, LayerChoice(4, 8, 1.5))
    trials = [replace(outcome, plan=plan) for outcome in RUNG_TRIALS]
    study = study_of(path, [*RUNG_REFERENCES, *trials], budget=["0.124x", "0.1x"])
    increases = {
        f"{name}.weight_bits": {1.0: 0.3 / (i + 1), 2.0: 0.1 / (i + 1), 4.0: 1e-4, 8.0: 1e-6}
        for i, name in enumerate(LAYERS)
    }
    errors = {name: dict.fromkeys(values, 2e-5) for name, values in increases.items()}
    write_text(study.sensitivity_file, Sensitivity(increases, errors, plan).to_json())
    layers = [profiled(name, 0.01, widenable=i % 2 > 0) for i, name in enumerate(LAYERS)]
    write_profile(study.profile_file, layers)
    return study


def swept(path):
    """A sweep over bits and widths, with seeds, budgets and a plan file."""
    grid = [
        run_result(bits, activations, 38.0 + 9 / bits + seed / 9, seed=seed, width=width)
        for bits in (2, 4, 8)
        for activations in (4, 8, 16)
        for width in (1.0, 1.5)
        for seed in (0, 1)
    ]
    filled = [run_result(None, 8, 39.0, width=w, budget="0.1x") for w in (1.0, 1.25, 1.5)]
    return sweep_of(path, [*grid, *filled, run_result(None, None, 38.5, name="mine")])


@pytest.fixture(scope="module", params=[PAGE, COLUMN], ids=lambda page: page.name)
def drawn(request, tmp_path_factory):
    """The page, and all figures on it by their names."""
    page, folder = request.param, tmp_path_factory.mktemp("figures")
    with matplotlib.rc_context(page.settings):
        search = figures_of(many_layers(folder / "search"), page)
        sweep = figures_of(swept(folder / "sweep"), page)
        figures = {name: figure for name, figure in {**sweep, **search}.items() if figure}
        for figure in figures.values():
            settle(figure)
            figure.draw_without_rendering()
        yield page, figures


def test_all_are_there_and_as_wide_as_the_page(drawn):
    page, figures = drawn
    assert {*figures} == {*SEARCHED, *SWEPT, "profile"}
    for figure in figures.values():
        assert figure.get_figwidth() == pytest.approx(page.width)


def test_no_text_is_small_or_cut(drawn):
    _, figures = drawn
    for name, figure in figures.items():
        edges = figure.bbox.padded(1)
        for text in texts_of(figure):
            if text.get_text():
                box, said = text.get_window_extent(), (name, text.get_text())
                assert text.get_fontsize() >= 7, said
                assert edges.x0 <= box.x0 <= box.x1 <= edges.x1, said
                assert edges.y0 <= box.y0 <= box.y1 <= edges.y1, said


def test_no_two_texts_overlap(drawn):
    _, figures = drawn
    assert {name: overlapping(figure) for name, figure in figures.items()} == {
        name: [] for name in figures
    }


def test_logarithmic_axes_say_so_and_have_two_ticks(drawn):
    _, figures = drawn
    for name, figure in figures.items():
        for axes in figure.axes:
            for axis in (axes.xaxis, axes.yaxis):
                if axis.get_scale() == "log":
                    label = axis.get_label_text().replace("\n", " ")
                    assert "(log scale)" in label, name
                    low, high = sorted(axis.get_view_interval())
                    ticks = [t for t in axis.get_majorticklocs() if low <= t <= high]
                    assert len(ticks) >= 2, name


def test_scores_name_their_split(drawn):
    _, figures = drawn
    for name in ("pareto", "curves", "widths"):
        label = figures[name].axes[0].get_ylabel().replace("\n", " ")
        assert label == "perplexity on the validation split (lower is better)"
    left, right = (axes.get_ylabel().replace("\n", " ") for axes in figures["history"].axes)
    assert left == "perplexity on the validation split (lower is better)"
    assert right == "perplexity on the probe split (lower is better)"
    assert all(line.get_linestyle() != "--" for line in figures["history"].axes[1].lines)
    assert "on the validation split" in figures["grid"].get_suptitle().replace("\n", " ")


def test_of_many_layers_the_others_share_a_row(drawn):
    _, figures = drawn
    rows = {
        "plan": "80 other layers",
        "sensitivity": "sum of 80 others",
        "profile": "80 smaller layers",
    }
    for name, others in rows.items():
        labels = [label.get_text() for label in figures[name].axes[0].get_yticklabels()]
        assert others in labels
        assert figures[name].get_figheight() < 12
