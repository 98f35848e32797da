import pytest

from autoquant.errors import UserError
from autoquant.figures.profile_bars import MOST_BARS, draw_profile, profile_data
from tests.figures.samples import profiled, texts, write_profile


def test_profile_data_is_sorted_and_sums_the_smallest(tmp_path):
    layers = [profiled(f"l{i}", (i + 1) / 1000) for i in range(30)]
    bars = profile_data(write_profile(tmp_path / "profile.json", layers))
    assert [bar.name for bar in bars[:2]] == ["l29", "l28"]
    assert len(bars) == MOST_BARS + 1
    assert bars[-1].name == "10 smaller layers"
    assert bars[-1].share == pytest.approx(0.055)


def test_profile_figure_shows_costs_and_reasons(tmp_path):
    layers = [profiled("decoder", 0.7, ()), profiled("rnn", 0.2, widenable=True)]
    bars = profile_data(write_profile(tmp_path / "profile.json", layers))
    assert bars[1].growth == ((1.25, 0.05), (1.5, 0.1), (2.0, 0.2))
    figure = draw_profile(bars)
    said = texts(figure)
    for text in ("70.0%", "20.0%", "may be widened", "grown x1.5", "feeds the model's output"):
        assert text in said
    places = [tuple(points.get_offsets()[0]) for points in figure.axes[1].collections]
    assert [row for _, row in places] == [1, 1, 1]
    assert [cost for cost, _ in places] == pytest.approx([5, 10, 20])


def test_profile_figure_of_a_model_that_cannot_grow(tmp_path):
    layers = [profiled("decoder", 1.0, ())]
    bars = profile_data(write_profile(tmp_path / "profile.json", layers))
    assert draw_profile(bars).axes[1].get_xscale() == "linear"


def test_no_profile_gives_no_bars(tmp_path):
    assert profile_data(tmp_path / "profile.json") == ()


@pytest.mark.parametrize("content", ["not json", "[]", '{"layers": [{"name": "rnn"}]}'])
def test_a_broken_profile_is_refused(tmp_path, content):
    path = tmp_path / "profile.json"
    path.write_text(content)
    with pytest.raises(UserError, match="must hold a profile"):
        profile_data(path)
