from itertools import pairwise

import pytest

from autoquant.figures.ticks import byte_texts, byte_unit, log_ticks


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.03, 0.3, [0.05, 0.1, 0.2]),
        (0.02, 1.5, [0.02, 0.05, 0.1, 0.2, 0.5, 1.0]),
        (160e3, 1.3e6, [200e3, 500e3, 1e6]),
        (0.055, 0.12, [0.06, 0.08, 0.1, 0.12]),
    ],
)
def test_ticks_are_round(low, high, ticks):
    assert log_ticks(low, high) == ticks


@pytest.mark.parametrize("most", [4, 7])
@pytest.mark.parametrize("low", [0.011, 0.0357, 0.06, 0.091, 278_123.0, 9_700_000.0])
@pytest.mark.parametrize("span", [1.33, 1.6, 2.5, 6.0, 40.0, 3000.0])
def test_ticks_are_at_least_two_and_have_room(low, span, most):
    ticks = log_ticks(low, low * span, most)
    assert 2 <= len(ticks) <= most + 1
    assert all(low <= tick <= low * span for tick in ticks)
    assert all((b / a) ** most >= span * 0.999 for a, b in pairwise(ticks)) or len(ticks) <= 4


@pytest.mark.parametrize(
    ("sizes", "texts"),
    [
        ([500, 1000, 2000], ["500 B", "1 kB", "2 kB"]),
        ([5e6, 1e9, 2.5e9], ["5 MB", "1 GB", "2.5 GB"]),
    ],
)
def test_bytes_have_the_unit_that_makes_them_short(sizes, texts):
    assert byte_texts(sizes) == texts


@pytest.mark.parametrize(
    ("largest", "unit"), [(900, "B"), (9_999_000, "kB"), (26_900_000, "MB"), (5e13, "GB")]
)
def test_a_table_has_the_unit_of_its_largest_number(largest, unit):
    assert byte_unit(largest)[0] == unit
