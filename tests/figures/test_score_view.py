import pytest

from autoquant.figures.score_view import ScoreView, view_of, with_headroom


def test_a_terrible_score_is_beyond_the_view():
    view = view_of([38.1, 38.6, 39.0, 40.0, 47.0, 3000.0, 5000.0], "minimize", [38.0])
    assert view.low < 38.0
    assert 47.0 < view.high < 60
    assert view.beyond == 2
    assert not view.log


def test_a_terrible_score_is_beyond_the_view_where_high_is_good():
    view = view_of([0.91, 0.9, 0.89, 0.9, 0.1], "maximize", [0.92])
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
    view = view_of(scores, direction)
    assert view.log is log
    assert (view.low > 0) or not log


def test_kept_scores_are_in_view_however_bad():
    view = view_of([38.0, 38.1, 38.2, 38.3], "minimize", [500.0])
    assert view.high > 500.0
    assert view.beyond == 0


@pytest.mark.parametrize("score", [0.0, 38.0, -3.0])
def test_a_single_score_has_a_view(score):
    view = view_of([], "minimize", [score])
    assert view.low < score < view.high


def test_headroom_is_added_at_the_bad_end():
    view = ScoreView(10.0, 20.0, False, 0)
    assert with_headroom(view, "minimize", 0.1) == ScoreView(10.0, 21.0, False, 0)
    assert with_headroom(view, "maximize", 0.1) == ScoreView(9.0, 20.0, False, 0)
    log = with_headroom(ScoreView(1.0, 100.0, True, 0), "minimize", 0.5)
    assert (log.low, log.high) == pytest.approx((1.0, 1000.0))
