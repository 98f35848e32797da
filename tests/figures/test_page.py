import pytest

from autoquant.errors import UserError
from autoquant.figures.page import COLUMN, PAGE, page_named


def test_pages_have_names():
    assert page_named("page") is PAGE
    assert page_named("column") is COLUMN


@pytest.mark.parametrize("name", ["wide", None, 85])
def test_another_name_is_refused(name):
    with pytest.raises(UserError, match=r"^width must be one of page, column, got "):
        page_named(name)


def test_a_column_has_the_width_of_a_paper_and_texts_that_can_be_read():
    assert COLUMN.width == pytest.approx(85 / 25.4)
    assert min(page.small for page in (PAGE, COLUMN)) >= 7


def test_a_title_has_lines_that_fit():
    text = "chosen: trial 10, 0.0735x = 341 kB, perplexity 29.038 ± 0.016"
    assert PAGE.wrapped(text) == text
    assert COLUMN.wrapped(f"{text}\nsecond").split("\n") == [
        "chosen: trial 10, 0.0735x = 341 kB,",
        "perplexity 29.038 ± 0.016",
        "second",
    ]


def test_panels_stand_below_each_other_in_a_column():
    side_by_side, _ = PAGE.panels(2, 2.0, (1.0, 1.0))
    stacked, _ = COLUMN.panels(2, 2.0, (1.0, 1.0))
    assert tuple(side_by_side.get_size_inches()) == pytest.approx((PAGE.width, 2.0))
    assert tuple(stacked.get_size_inches()) == pytest.approx((COLUMN.width, 4.0))
