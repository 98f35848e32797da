"""Results as text, Markdown and CSV."""

from __future__ import annotations

import csv
import io

import pytest

from benchmarks import table
from benchmarks.table import CaseResult, Measurement


def result(label: str, *medians: float) -> CaseResult:
    measurements = [
        measurement
        for name, median in zip(("base", "ours | theirs"), medians, strict=False)
        for measurement in (
            Measurement(name, "over base", median, median - 0.1, median + 0.1),
            Measurement(name, "MB", 10 * median),
        )
    ]
    return CaseResult(
        "group", f"title of {label}", label, tuple(measurements), ("a note",), ("a fault",)
    )


@pytest.mark.parametrize(
    ("value", "written"),
    [(0.0, "0.00"), (123.456, "123.46"), (1.005, "1.00"), (0.1234, "0.123"), (0.00456, "0.0046")],
)
def test_small_numbers_have_more_decimals(value: float, written: str) -> None:
    assert table.format_number(value) == written


def test_a_table_has_variants_down_and_quantities_across() -> None:
    assert table.rows_of(result("one", 1.0, 0.5)) == [
        ["", "over base", "MB"],
        ["base", "1.00 (0.900 - 1.10)", "10.00"],
        ["ours | theirs", "0.500 (0.400 - 0.600)", "5.00"],
    ]


def test_a_summary_puts_the_longer_of_cases_and_variants_down() -> None:
    one, two, three = result("one", 1.0, 0.5), result("two", 1.0), result("three", 1.0, 2.0)
    assert table.summary([one, two]) == [
        ["", "one", "two"],
        ["base", "1.00", "1.00"],
        ["ours | theirs", "0.500", ""],
    ]
    assert table.summary([one, two, three]) == [
        ["", "base", "ours | theirs"],
        ["one", "1.00", "0.500"],
        ["two", "1.00", ""],
        ["three", "1.00", "2.00"],
    ]


def test_text_lines_up() -> None:
    lines = table.plain_text([["", "x"], ["long name", "1"]]).splitlines()
    assert lines == ["             x", "  long name  1"]


def test_markdown_escapes_bars() -> None:
    assert table.markdown([["", "x"], ["a | b", "1"]]).splitlines() == [
        "|  | x |",
        "| --- | ---: |",
        "| a \\| b | 1 |",
    ]


def test_a_section_shows_faults_before_notes() -> None:
    shown = table.section(result("one", 1.0), table.markdown, "### ")
    assert shown.startswith("### title of one\n\n|")
    assert shown.endswith("- a fault\n- a note")


def test_a_report_has_facts_groups_and_a_summary() -> None:
    written = table.report(
        ["CPU: one", "no threads"], [result("one", 1.0), result("two", 1.0)], "Benchmarks"
    )
    assert written.startswith("# Benchmarks\n\n- CPU: one\n- no threads\n\n## group\n\n")
    assert "In short: over base, medians." in written
    assert written.count("### title of") == 2
    assert "In short" not in table.report([], [result("one", 1.0)], "Benchmarks")


def test_nothing_that_could_be_measured_is_still_a_report() -> None:
    empty = CaseResult("group", "title", "label", (), (), ("FAILED: all",))
    assert "FAILED: all" in table.report([], [empty, empty], "Benchmarks")


def test_csv_has_one_measurement_a_line() -> None:
    rows = list(csv.DictReader(io.StringIO(table.to_csv([result("one", 1.0, 0.5)]))))
    assert len(rows) == 4
    assert rows[2] == {
        "group": "group",
        "case": "title of one",
        "variant": "ours | theirs",
        "quantity": "over base",
        "median": "0.5",
        "low": "0.4",
        "high": "0.6",
    }
    assert (rows[3]["low"], rows[3]["high"]) == ("", "")
