"""The page in Chromium: what it asks for, what moves, and that it fits wide and narrow screens."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoquant.report_page.page import write_page
from tests.report_page.samples import HOSTILE, apply_trial, network_of, search_of

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
LAYERS = 104
OVERFLOWING = """() => {
  const inside = (element) => element.closest(".scroll, .chart-scroll, pre, nav ul, .hidden");
  const width = document.documentElement.clientWidth;
  const wide = [...document.body.querySelectorAll("*")].filter((each) =>
    !inside(each.parentElement) && each.getBoundingClientRect().right > width + 1);
  const shown = wide.map((each) => each.outerHTML.slice(0, 80));
  return [document.documentElement.scrollWidth - width, shown];
}"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a search of many layers, with names that are harmless only as text."""
    folder = tmp_path_factory.mktemp("browser") / "study"
    study = search_of(folder, network_of(LAYERS), task={"name": HOSTILE})
    apply_trial(study, study.outcomes()[2], test=40.0)
    return write_page(study)


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    """Started once, with a profile of its own in a temporary folder."""
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def messages() -> list[str]:
    """What the browser said and asked for, beyond the file itself."""
    return []


@pytest.fixture(scope="module")
def page(browser: playwright.Browser, file: Path, messages: list[str]) -> playwright.Page:
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    opened.set_default_timeout(5000)
    opened.on("console", lambda message: messages.append(message.text))
    opened.on("pageerror", lambda error: messages.append(str(error)))
    opened.on("dialog", lambda dialog: messages.append(dialog.message))
    opened.on("request", lambda request: messages.append(request.url))
    opened.goto(file.as_uri())
    return opened


def column(page: playwright.Page, table: str, number: int) -> list[str]:
    return page.eval_on_selector_all(
        f"#{table} > tbody > tr > :nth-child({number})", "cells => cells.map(c => c.textContent)"
    )


def test_it_asks_for_nothing_and_says_nothing(
    page: playwright.Page, file: Path, messages: list[str]
) -> None:
    assert page.title().startswith(HOSTILE)
    assert messages == [file.as_uri()]


def test_a_click_on_a_heading_sorts(page: playwright.Page) -> None:
    before = column(page, "layer-table-1", 1)
    heading = page.locator("#layer-table-1 th", has_text="layer").locator("button").first
    bits = page.locator("#layer-table-1 th", has_text="weight bits").locator("button")
    bits.click()
    assert column(page, "layer-table-1", 2) == ["5"] * (LAYERS // 2) + ["4"] * (LAYERS // 2)
    bits.click()
    assert column(page, "layer-table-1", 2) == ["4"] * (LAYERS // 2) + ["5"] * (LAYERS // 2)
    assert bits.locator("..").get_attribute("aria-sort") == "ascending"
    bits.click()
    assert column(page, "layer-table-1", 1) == before
    heading.click()  # with numbers in names: encoder.2 before encoder.10
    names = column(page, "layer-table-1", 1)
    assert names.index("encoder.2.project") < names.index("encoder.10.project")


def test_texts_that_are_missing_sort_last(page: playwright.Page) -> None:
    button = page.locator("#trial-table > thead th", has_text="perplexity").locator("button")
    button.click()
    scores = column(page, "trial-table", 6)
    assert scores[0].startswith("43.00")
    assert scores[-1] == ""
    button.click()
    assert column(page, "trial-table", 6)[-1] == ""


def test_a_filter_keeps_the_rows_that_match(page: playwright.Page) -> None:
    box = page.locator("input[data-table=sensitivity-table]")
    box.fill("ENCODER.7.")
    shown = page.locator("#sensitivity-table > tbody > tr:visible")
    assert shown.count() == 2
    assert page.locator(".filter", has=box).locator(".found").text_content() == f"2 of {LAYERS}"
    box.fill("")
    assert shown.count() == LAYERS


def test_hover_and_focus_show_the_plan_of_a_point(page: playwright.Page) -> None:
    tip = page.locator("#tip")
    point = page.locator("a.point[href='#plan-2']")
    point.locator(".mark").hover()
    text = tip.text_content()
    assert text.startswith("trial 1: perplexity 39.00 ± 0.10")
    assert f"{LAYERS - 20} smaller layers" in text
    assert "encoder.3.output_projection" in text
    page.mouse.move(2, 2)
    assert tip.is_hidden()
    point.focus()
    assert tip.text_content() == text
    page.keyboard.press("ArrowRight")  # to the next larger plan
    assert tip.text_content().startswith("8-bit where allowed: ")
    page.keyboard.press("Escape")
    assert tip.is_hidden()
    assert page.locator("a.point[tabindex='0']").count() == 1


def test_a_point_leads_to_the_row_of_its_plan(page: playwright.Page) -> None:
    page.locator("a.point[href='#plan-2']").focus()
    page.keyboard.press("Enter")
    assert page.locator("#plan-2 details").get_attribute("open") is not None
    assert page.locator("#plan-2").is_visible()


@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_is_wider_than_the_screen(page: playwright.Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate(OVERFLOWING) == [0, []]


def test_headings_stay_while_a_table_is_scrolled(page: playwright.Page) -> None:
    page.set_viewport_size({"width": 1280, "height": 900})
    box = page.locator(".scroll", has=page.locator("#layer-table-1"))
    box.evaluate("each => { each.scrollTop = 600; }")
    top = box.bounding_box()["y"]
    heading = page.locator("#layer-table-1 thead").bounding_box()
    assert abs(heading["y"] - top) < 3
    total = page.locator("#layer-table-1 tfoot tr").last.bounding_box()
    assert abs(total["y"] + total["height"] - top - box.bounding_box()["height"]) < 3


def test_without_scripts_the_plans_are_there(browser: playwright.Browser, file: Path) -> None:
    plain = browser.new_context(java_script_enabled=False).new_page()
    plain.goto(file.as_uri())
    details = plain.locator("#plan-2 details")
    assert details.locator("table").is_hidden()
    details.locator("summary").click()
    assert details.locator("table").is_visible()
    assert plain.locator("#front svg.chart .point").count() == 5
    assert plain.locator(".needs-js:visible").count() == 0
