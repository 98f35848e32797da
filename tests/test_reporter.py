from dataclasses import replace
from xml.etree import ElementTree

import pytest
from matplotlib.image import imread

from autoquant import reporter
from autoquant.errors import RunError, UserError
from autoquant.files import write_text
from autoquant.outcome import Outcome, to_csv
from autoquant.plan import LayerChoice, Plan
from autoquant.profiler import Growth, LayerProfile, Profile
from autoquant.study import Baseline, Study

FLOAT_BYTES = 2_400_000
LAYERS = ("encoder", "rnn.l0", "decoder")
BASELINE = Baseline(
    score=38.0,
    size_bytes=FLOAT_BYTES,
    parameters=600_000,
    metric="perplexity",
    direction="minimize",
    steps=300,
    seconds=9.0,
    history=((100, 80.0), (200, 50.0), (300, 41.0)),
)
PLAN = Plan(
    {
        "encoder": LayerChoice(4, 32),
        "rnn.l0": LayerChoice(3, 8, 1.5, recurrent_bits=2, hidden_bits=4),
        "decoder": LayerChoice(16, 6),
    }
)


def trial(number, share, score, state="complete", plan=PLAN):
    return Outcome(str(number), "search", plan, int(share * FLOAT_BYTES), state, score)


def uniform(bits, score):
    plan = Plan.uniform(LAYERS, LayerChoice(bits, 8))
    return Outcome(f"w{bits}", "reference", plan, bits * FLOAT_BYTES // 32, "complete", score)


REFERENCES = [uniform(8, 38.1), uniform(4, 38.6), uniform(3, 40.0), uniform(2, 47.0)]
TRIALS = [
    trial(0, 0.110, 41.0),
    trial(1, 0.120, 39.0),
    trial(2, 0.118, 45.0, "pruned"),
    trial(3, 0.119, None, "diverged"),
    trial(4, 0.124, 39.4),
]


def facts(outcomes, budget=0.124, baseline=BASELINE):
    return reporter.Facts(baseline, tuple(outcomes), f"{budget}x", int(budget * FLOAT_BYTES))


def study_of(path, outcomes, baseline=BASELINE, budget="0.124x", layers=()):
    study = Study.create(path, {"budget": budget})
    study.write_baseline(baseline)
    write_text(study.outcomes_file, to_csv(outcomes, FLOAT_BYTES))
    if layers:
        write_profile(study.profile_file, layers)
    return study


def profiled(name, share, widths=(1.25, 1.5, 2.0), widenable=False):
    return LayerProfile(
        name=name,
        kind="linear",
        shape="4 -> 4",
        parameters=int(share * 600_000),
        share=share,
        macs=1,
        growth=tuple(Growth(width, 1, share * (width - 1)) for width in widths),
        widenable=widenable,
        reason="small" if widenable else "feeds the model's output",
    )


def write_profile(path, layers):
    path.write_text(Profile(tuple(layers), 600_000, "token").to_json())
    return path


def texts(figure):
    legends = [text for legend in figure.legends for text in legend.get_texts()]
    inside = [text for axes in figure.axes for text in (*axes.texts, axes.title)]
    return [text.get_text() for text in (*legends, *inside)]


# --- report --------------------------------------------------------------------------------------


def test_report_writes_every_figure_as_png_and_svg(tmp_path):
    layers = [profiled("encoder", 0.7, ()), profiled("rnn.l0", 0.2, widenable=True)]
    study = study_of(tmp_path / "study", REFERENCES + TRIALS, layers=layers)
    paths = reporter.report(study)
    names = ["pareto", "plan", "history", "profile"]
    assert [path.name for path in paths] == [
        f"{n}.{kind}" for n in names for kind in ("png", "svg")
    ]
    assert sorted(study.figures.iterdir()) == sorted(paths)  # no temporary file stays
    for png, svg in zip(paths[::2], paths[1::2], strict=True):
        image = imread(png)
        assert min(image.shape[:2]) > 200
        assert image[..., :3].std() > 0.05
        root = ElementTree.fromstring(svg.read_text(encoding="utf-8"))
        assert root.tag.endswith("svg")
        assert len(list(root.iter())) > 100


def test_the_same_study_gives_the_same_svg(tmp_path, monkeypatch):
    monkeypatch.setattr(reporter, "FORMATS", {"svg": reporter.FORMATS["svg"]})
    study = study_of(tmp_path / "study", TRIALS[:1], replace(BASELINE, history=()))
    first = {path.name: path.read_bytes() for path in reporter.report(study)}
    assert {path.name: path.read_bytes() for path in reporter.report(study)} == first


def test_report_needs_outcomes(tmp_path):
    study = study_of(tmp_path / "study", [])
    with pytest.raises(
        UserError, match=r"^a study must have outcomes to report, got none in '.*'$"
    ):
        reporter.report(study)
    assert not study.figures.exists()


def test_report_needs_a_folder_it_can_write(tmp_path):
    study = study_of(tmp_path / "study", TRIALS[:1])
    study.figures.write_text("in the way")
    with pytest.raises(RunError, match="cannot be written"):
        reporter.report(study)


def test_without_a_feasible_plan_an_old_plan_figure_goes(tmp_path, monkeypatch):
    monkeypatch.setattr(reporter, "DPI", 50)
    study = study_of(tmp_path / "study", TRIALS, budget="0.01x")
    study.figures.mkdir()
    (study.figures / "plan.png").write_text("old")
    assert {path.stem for path in reporter.report(study)} == {"pareto", "history"}
    assert not (study.figures / "plan.png").exists()


# --- the score axis ------------------------------------------------------------------------------


def test_a_terrible_score_is_beyond_the_view():
    view = reporter.view_of([38.1, 38.6, 39.0, 40.0, 47.0, 3000.0, 5000.0], "minimize", [38.0])
    assert view.low < 38.0
    assert 47.0 < view.high < 60
    assert view.beyond == 2
    assert not view.log


def test_a_terrible_score_is_beyond_the_view_where_high_is_good():
    view = reporter.view_of([0.91, 0.9, 0.89, 0.9, 0.1], "maximize", [0.92])
    assert 0.8 < view.low < 0.89
    assert view.high > 0.92
    assert view.beyond == 1


@pytest.mark.parametrize(
    ("scores", "direction", "log"),
    [
        ([40.0, 90.0, 300.0, 900.0, 2000.0], "minimize", True),
        ([40.0, 90.0, 300.0], "minimize", False),
        ([0.0, 0.5, 1.0, 4.0], "minimize", False),
        ([-1.0, 50.0, 900.0, 2000.0], "minimize", False),
        ([0.01, 0.5, 0.9], "maximize", False),
    ],
)
def test_the_axis_is_logarithmic_where_low_scores_are_good_and_span_much(scores, direction, log):
    view = reporter.view_of(scores, direction)
    assert view.log is log
    assert (view.low > 0) or not log


def test_kept_scores_are_in_view_however_bad():
    view = reporter.view_of([38.0, 38.1, 38.2, 38.3], "minimize", [500.0])
    assert view.high > 500.0
    assert view.beyond == 0


@pytest.mark.parametrize("score", [0.0, 38.0, -3.0])
def test_a_single_score_has_a_view(score):
    view = reporter.view_of([], "minimize", [score])
    assert view.low < score < view.high


# --- pareto --------------------------------------------------------------------------------------


def test_pareto_data_sorts_outcomes_into_series():
    data = reporter.pareto_data(facts(REFERENCES + TRIALS))
    assert [p.name for p in data.search] == ["trial 0", "trial 1", "trial 4"]
    assert [p.name for p in data.references] == ["8-bit", "4-bit", "3-bit", "2-bit"]
    assert [p.name for p in data.pruned] == ["trial 2"]
    assert [p.name for p in data.front] == ["2-bit", "3-bit", "trial 1", "4-bit", "8-bit"]
    assert data.undrawn == ("1 diverged",)
    assert data.chosen is not None
    assert (data.chosen.name, data.chosen.score) == ("trial 1", 39.0)
    assert data.chosen.share == pytest.approx(0.12)


def test_pareto_data_places_the_budget():
    data = reporter.pareto_data(facts(REFERENCES + TRIALS))
    assert data.budget == pytest.approx(0.124)
    assert data.budget_text == "budget 0.124x = 298 kB"
    assert data.shares[0] < 2 / 32 < 8 / 32 < data.shares[1]


def test_a_reference_may_be_chosen():
    chosen = reporter.pareto_data(facts([*REFERENCES, *TRIALS], budget=0.3)).chosen
    assert chosen is not None
    assert chosen.name == "8-bit"


def test_high_scores_lead_the_front_where_high_is_good():
    baseline = replace(BASELINE, score=0.92, metric="accuracy", direction="maximize")
    outcomes = [trial(0, 0.10, 0.80), trial(1, 0.11, 0.90), trial(2, 0.12, 0.85)]
    data = reporter.pareto_data(facts(outcomes, baseline=baseline))
    assert [p.name for p in data.front] == ["trial 0", "trial 1"]
    assert data.chosen == data.search[1]
    axes = reporter.draw_pareto(data).axes[0]
    assert axes.get_ylabel() == "accuracy (higher is better)"


def test_pareto_figure_says_what_it_shows():
    figure = reporter.draw_pareto(reporter.pareto_data(facts(REFERENCES + TRIALS)))
    said = texts(figure)
    for text in (
        "chosen: trial 1, 0.12x = 288 kB, perplexity 39",
        "budget 0.124x = 298 kB",
        "float model: 38, 2.4 MB",
        "pruned (1), scored on the probe split",
        "not drawn: 1 diverged",
        "4-bit",
    ):
        assert text in said
    axes = figure.axes[0]
    assert axes.get_ylabel() == "perplexity (lower is better)"
    assert "0.125x" in [label.get_text() for label in axes.get_xticklabels()]
    top = axes.child_axes[0]
    assert "300 kB" in [label.get_text() for label in top.get_xticklabels()]


def test_pareto_figure_counts_and_marks_what_is_beyond_the_axis():
    wild = [trial(5, 0.1, 2000.0), trial(6, 0.1, 9000.0)]
    data = reporter.pareto_data(facts([*REFERENCES, *TRIALS, *wild]))
    assert data.view.beyond == 2
    figure = reporter.draw_pareto(data)
    assert "2 trials beyond the axis" in texts(figure)
    edges = [line for line in figure.axes[0].lines if "beyond" in str(line.get_label())]
    assert [list(line.get_ydata()) for line in edges] == [[data.view.high] * 2]


def test_a_logarithmic_axis_has_plain_numbers():
    outcomes = [trial(i, 0.1, 40.0 * 2.5**i) for i in range(6)]
    axes = reporter.draw_pareto(reporter.pareto_data(facts(outcomes))).axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert {"100", "1,000", "2,000"} <= set(labels)


def test_a_reference_beyond_the_axis_is_named_with_its_score():
    outcomes = [*TRIALS, *REFERENCES[:3], uniform(2, 1234.0)]
    said = texts(reporter.draw_pareto(reporter.pareto_data(facts(outcomes))))
    assert "2-bit: 1,234" in said
    assert "1 trial beyond the axis" in said


@pytest.mark.parametrize(
    "outcomes",
    [
        pytest.param([trial(0, 0.1, None, "diverged")], id="all diverged"),
        pytest.param([trial(0, 0.1, float("nan")), trial(1, 0.1, float("inf"))], id="not finite"),
        pytest.param([trial(0, 0.1, 50.0, "interrupted")], id="interrupted"),
        pytest.param([trial(0, 0.5, 38.0)], id="over the budget"),
    ],
)
def test_a_study_without_a_feasible_plan_is_drawn(outcomes):
    given = facts(outcomes)
    data = reporter.pareto_data(given)
    assert data.chosen is None
    assert "no trained plan fits the budget" in texts(reporter.draw_pareto(data))
    assert reporter.history_data(given).best == ()
    reporter.draw_history(reporter.history_data(given))


@pytest.mark.parametrize("limits", [(0.055, 0.29), (0.11, 0.14), (0.01, 1.5), (0.2, 0.3)])
def test_ticks_are_few_and_inside(limits):
    ticks = reporter.share_ticks(*limits)
    assert 2 <= len(ticks) <= 9
    assert all(limits[0] <= tick <= limits[1] for tick in ticks)


# --- plan ----------------------------------------------------------------------------------------


def test_plan_data_is_in_the_order_of_the_model():
    data = reporter.plan_data(TRIALS[1])
    assert data.columns == reporter.COLUMNS
    assert data.rows == (
        ("encoder", (4, None, 32, None, 1.0)),
        ("rnn.l0", (3, 2, 8, 4, 1.5)),
        ("decoder", (16, None, 6, None, 1.0)),
    )
    assert data.title == "chosen plan: trial 1, 288 kB"


def test_columns_without_a_value_are_left_out():
    assert reporter.plan_data(REFERENCES[0]).columns == ("weight_bits", "activation_bits", "width")


def test_plan_figure_prints_every_number():
    axes = reporter.draw_plan(reporter.plan_data(TRIALS[1])).axes[0]
    printed = [text.get_text() for text in axes.texts]
    assert printed == [
        *("4", "", "float", "", "x1"),
        *("3", "2", "8", "4", "x1.5"),
        *("16", "", "6", "", "x1"),
    ]


def test_plan_figure_of_many_layers_shows_the_first_and_counts_the_rest():
    names = [f"blocks.{i}.a_rather_long_name_of_a_projection_layer" for i in range(90)]
    data = reporter.plan_data(trial(0, 0.1, 39.0, plan=Plan.uniform(names, LayerChoice(4, 8))))
    assert (len(data.rows), data.left_out) == (reporter.MOST_ROWS, 10)
    assert data.rows[7][0].startswith("blocks.7.")
    assert len(data.rows[7][0]) <= 36
    figure = reporter.draw_plan(data)
    assert figure.axes[0].get_xlabel() == "... and 10 more layers"
    assert figure.get_figheight() < 20


# --- history -------------------------------------------------------------------------------------


def test_history_data_follows_the_best_within_the_budget():
    over = trial(5, 0.2, 38.2)
    data = reporter.history_data(facts([*REFERENCES, over, *TRIALS]))
    assert data.best == ((0, 41.0), (1, 39.0), (4, 39.0))
    assert data.trials["over"] == ((5, 38.2),)
    assert data.trials["pruned"] == ((2, 45.0),)
    assert data.lost == (3,)
    assert data.reference == ("3-bit", 40.0)


def test_history_follows_the_highest_where_high_is_good():
    baseline = replace(BASELINE, score=0.92, direction="maximize")
    outcomes = [trial(0, 0.1, 0.8), trial(1, 0.1, 0.9), trial(2, 0.1, 0.7)]
    data = reporter.history_data(facts(outcomes, baseline=baseline))
    assert data.best == ((0, 0.8), (1, 0.9), (2, 0.9))


def test_history_figure_has_the_training_curve_where_there_is_one():
    figure = reporter.draw_history(reporter.history_data(facts(TRIALS)))
    search, curve = figure.axes
    assert search.get_xlabel() == "trial"
    assert curve.get_ylabel() == "perplexity on the probe split (lower is better)"
    assert list(curve.lines[1].get_ydata()) == [80.0, 50.0, 41.0]
    bare = facts(TRIALS, baseline=replace(BASELINE, history=()))
    assert len(reporter.draw_history(reporter.history_data(bare)).axes) == 1


# --- profile -------------------------------------------------------------------------------------


def test_profile_data_is_sorted_and_sums_the_smallest(tmp_path):
    layers = [profiled(f"l{i}", (i + 1) / 1000) for i in range(30)]
    bars = reporter.profile_data(write_profile(tmp_path / "profile.json", layers))
    assert [bar.name for bar in bars[:2]] == ["l29", "l28"]
    assert len(bars) == reporter.MOST_BARS + 1
    assert bars[-1].name == "... and 5 smaller layers"
    assert bars[-1].share == pytest.approx(0.015)


def test_profile_figure_shows_costs_and_reasons(tmp_path):
    layers = [profiled("decoder", 0.7, ()), profiled("rnn", 0.2, widenable=True)]
    bars = reporter.profile_data(write_profile(tmp_path / "profile.json", layers))
    assert bars[1].growth == ((1.25, 0.05), (1.5, 0.1), (2.0, 0.2))
    figure = reporter.draw_profile(bars)
    said = texts(figure)
    for text in ("70%", "20%", "may be widened", "grown x1.5", "feeds the model's output"):
        assert text in said
    places = [tuple(points.get_offsets()[0]) for points in figure.axes[1].collections]
    assert [row for _, row in places] == [1, 1, 1]
    assert [cost for cost, _ in places] == pytest.approx([5, 10, 20])


def test_profile_figure_of_a_model_that_cannot_grow(tmp_path):
    layers = [profiled("decoder", 1.0, ())]
    bars = reporter.profile_data(write_profile(tmp_path / "profile.json", layers))
    assert reporter.draw_profile(bars).axes[1].get_xscale() == "linear"


def test_no_profile_gives_no_bars(tmp_path):
    assert reporter.profile_data(tmp_path / "profile.json") == ()


@pytest.mark.parametrize("content", ["not json", "[]", '{"layers": [{"name": "rnn"}]}'])
def test_a_broken_profile_is_refused(tmp_path, content):
    path = tmp_path / "profile.json"
    path.write_text(content)
    with pytest.raises(UserError, match="must hold a profile"):
        reporter.profile_data(path)
