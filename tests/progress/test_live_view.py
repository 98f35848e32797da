"""What is drawn, in terminals of many sizes."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from autoquant.progress import Bar, TrialRow
from autoquant.progress.live_view import BEST, MAX_BARS, LiveView, shown_rows

LAST = 199
ROWS = [
    TrialRow(
        str(number),
        "search",
        "340.9 kB",
        f"{number / 1000:.4f}x",
        "100",
        f"{29 - number / 100:.5g} ± 0.11",
        "valid",
        "complete",
        "8.1 s",
        rank=LAST - number + 1 if number < 150 else None,
        chosen=number == 7,
    )
    for number in range(LAST + 1)
]


def drawn(width: int, height: int, rows: list[TrialRow], bars: list[Bar]) -> list[str]:
    """The lines of a display.

    Args:
        width: of the terminal.
        height: of the terminal.
        rows: of trials.
        bars: in progress.
    """
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    view = LiveView()
    view.update(rows, bars, "search of a study with a long name > proposals", "1 min 3 s", 20.0)
    with console.capture() as captured:
        console.print(view)
    return captured.get().splitlines()


def bars(count: int) -> list[Bar]:
    made = [Bar(f"trial {n}, data order 2", 0.0, 100, "step") for n in range(count)]
    for bar in made:
        bar.advance(40)
        bar.note = "loss 3.210, perplexity 26.3 (probe)"
    return made


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 200])
@pytest.mark.parametrize("height", [3, 10, 24, 60])
@pytest.mark.parametrize("running", [0, 1, 12])
def test_the_display_fits_the_terminal(width: int, height: int, running: int) -> None:
    lines = drawn(width, height, ROWS, bars(running))
    assert max(map(len, lines)) <= width
    assert len(lines) <= height
    assert lines[0].endswith("1 min 3 s")


def test_a_display_of_usual_size() -> None:
    lines = drawn(100, 24, ROWS, bars(2))
    assert lines[0].startswith("search of a study with a long name > proposals")
    assert " ".join(lines[1].split()) == "trial role size share steps score (valid) state time"
    assert lines[2].split()[:2] == ["*", "7"]
    assert [line.split()[0] for line in lines[3:6]] == ["149", "148", "..."]
    assert [line.split()[0] for line in lines[6:18]] == [str(n) for n in range(188, 200)]
    assert lines[-1].startswith("trial 1, data order 2  ━━")
    assert lines[-1].endswith("─  40/100 steps  30 s left  2.0 steps/s  loss 3.210, perplexi…")


def test_a_narrow_display_goes_without_some_columns() -> None:
    heading, row = drawn(60, 24, ROWS, [])[1:3]
    assert " ".join(heading.split()) == "trial size share steps score (valid) state"
    assert " ".join(row.split()) == "* 7 340.9 kB 0.0070x 100 28.93 ± 0.11 complete"
    assert drawn(40, 24, ROWS, [])[1].split()[:3] == ["trial", "size", "score"]


def test_scores_on_other_splits_say_so() -> None:
    lines = drawn(100, 24, [ROWS[0], replace(ROWS[1], split="probe")], [])
    assert "score (" not in lines[1]
    assert "29 ± 0.11 (valid)" in lines[2]
    assert "28.99 ± 0.11 (probe)" in lines[3]


def test_the_last_bars_are_shown() -> None:
    lines = drawn(100, 40, [], bars(12))
    assert [line.split(",")[0] for line in lines[1:]] == [f"trial {n}" for n in range(4, 12)]
    assert len(lines) == MAX_BARS + 1


def test_the_chosen_trial_and_the_best_stay_in_sight() -> None:
    names = [row.name for row in shown_rows(ROWS, 12)]
    assert names == ["7", "149", "148", "...", *(str(n) for n in range(192, 200))]
    assert len(names[:BEST]) == 3
    assert shown_rows(ROWS[:12], 12) == ROWS[:12]
    assert len(shown_rows(ROWS, 1)) == 1


def test_what_has_changed_is_drawn_anew() -> None:
    console = Console(file=io.StringIO(), width=80, height=24, color_system=None)
    view = LiveView()
    found = []
    for rows in (ROWS[:2], ROWS[:2], ROWS[:3]):
        view.update(rows, [], "search", "1 s", 0.0)
        with console.capture() as captured:
            console.print(view)
        found.append(captured.get())
    assert found[0] == found[1]
    assert "0.0020x" not in found[1]
    assert "0.0020x" in found[2]


def test_signs_of_a_terminal_of_ascii() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    console = Console(file=stream, width=80, height=24, color_system=None)
    view = LiveView()
    view.update([], bars(1), "search", "1 s", 20.0)
    with console.capture() as captured:
        console.print(view)
    assert "#####--------" in captured.get()
    assert "━" not in captured.get()
