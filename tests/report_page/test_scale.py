import pytest

from autoquant.report_page.scale import Scale, round_values


def test_places_of_a_linear_axis():
    scale = Scale(10.0, 20.0, 100.0, 300.0)
    assert [scale(value) for value in (10.0, 12.5, 20.0)] == [100.0, 150.0, 300.0]


def test_an_axis_may_run_upwards():
    scale = Scale(0.0, 1.0, 400.0, 0.0)
    assert scale(0.25) == 300.0


def test_places_of_a_logarithmic_axis():
    scale = Scale(1.0, 100.0, 0.0, 200.0, log=True)
    assert [scale(value) for value in (1.0, 10.0, 100.0)] == [0.0, 100.0, 200.0]


def test_values_beyond_an_axis_stand_at_its_ends():
    scale = Scale(1.0, 10.0, 0.0, 90.0, log=True)
    assert (scale(-5.0), scale(50.0)) == (0.0, 90.0)
    assert not scale.shows(50.0)


@pytest.mark.parametrize(
    ("low", "high", "log", "values"),
    [
        (28.4, 31.7, False, [29.0, 30.0, 31.0]),
        (0.412, 0.433, False, [0.415, 0.42, 0.425, 0.43]),
        (90.0, 2000.0, True, [100.0, 200.0, 500.0, 1000.0, 2000.0]),
        (30.0, 50.0, True, [30.0, 35.0, 40.0, 45.0, 50.0]),
        (1.0, 1e6, True, [1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6]),
        (5.0, 5.0, False, [5.0]),
    ],
)
def test_round_values(low, high, log, values):
    assert round_values(low, high, log=log) == values


def test_ticks_beyond_the_axis_are_left_out():
    ticks = Scale(1.0, 3.0, 0.0, 20.0).ticks(str, [0.0, 1.0, 2.0, 4.0])
    assert [(tick.at, tick.text) for tick in ticks] == [(0.0, "1.0"), (10.0, "2.0")]
