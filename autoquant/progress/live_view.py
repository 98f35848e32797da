"""LiveView: what LiveProgress draws, as large as the terminal allows."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from autoquant.progress.bar import Bar, plural, readable_rate, readable_seconds
from autoquant.progress.base import printable_lines
from autoquant.progress.trial_row import TrialRow

BEST = 3
"""Trials that are shown because of their rank, at most."""
MAX_ROWS = 16
"""Trials that are shown while others are trained, at most."""
MAX_BARS = 8
"""Bars that are shown, at most."""
BAR_WIDTH = 24
"""Columns of a bar, at most."""
GAP = 2
"""Columns between two columns."""
COLUMNS = ("", "trial", "role", "size", "share", "steps", "score", "state", "time")
"""Headings of the table."""
DROPPED = ("time", "role", "steps", "share", "state")
"""Columns that a narrow terminal goes without, the first one first."""
STYLES = {"complete": "green", "pruned": "dim", "diverged": "red", "failed": "red"}
"""Styles of rows by state."""


class LiveView:
    """A display that rich can draw: a heading, a table and bars.

    The table is drawn anew only when it has changed: most of the time only bars have.
    """

    def __init__(self) -> None:
        self._rows: Sequence[TrialRow] = ()
        self._bars: Sequence[Bar] = ()
        self._heading, self._elapsed, self._now = "", "", 0.0
        self._drawn: tuple[Sequence[TrialRow], int, int] = ((), 0, 0)
        self._lines: list[list[Segment]] = []

    def update(
        self, rows: Sequence[TrialRow], bars: Sequence[Bar], heading: str, elapsed: str, now: float
    ) -> None:
        """Set what is drawn the next time.

        Args:
            rows: all trials; another object when they have changed.
            bars: of what is in progress.
            heading: the command and its phase.
            elapsed: time since the beginning.
            now: on the bars' clock.
        """
        self._rows, self._bars = rows, bars
        self._heading, self._elapsed, self._now = heading, elapsed, now

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, height = options.max_width, options.size.height
        bars = self._bars[-max(1, min(MAX_BARS, height - 2)) :]
        room = min(MAX_ROWS, height - len(bars) - 4)  # heading, headings, a blank line, the cursor
        yield _heading(self._heading, self._elapsed, width)
        if self._rows and room > 0:
            for line in self._table_lines(console, options, room):
                yield from line
                yield Segment.line()
            yield Text("")
        widest = max((len(bar.label) for bar in bars), default=0)
        for bar in bars:
            yield bar_line(bar, self._now, width, widest, ascii_only=options.ascii_only)

    def _table_lines(
        self, console: Console, options: ConsoleOptions, room: int
    ) -> list[list[Segment]]:
        """The drawn table.

        Args:
            console: that draws it.
            options: of the console.
            room: rows, at most.
        """
        rows, width = self._rows, options.max_width
        if self._drawn[0] is not rows or self._drawn[1:] != (width, room):
            table = table_of(shown_rows(rows, room), width)
            self._drawn = (rows, width, room)
            lines = console.render_lines(table, options, pad=False)
            self._lines = [[*Segment.simplify(line)] for line in lines]
        return self._lines


def shown_rows(rows: Sequence[TrialRow], room: int) -> list[TrialRow]:
    """The chosen trial and the best ones, then the last ones.

    Args:
        rows: all trials.
        room: rows, at most.
    """
    if len(rows) <= room:
        return [*rows]
    known = (row for row in rows if row.chosen or row.rank)
    ranked = sorted(known, key=lambda row: (not row.chosen, row.rank or len(rows)))
    best = ranked[: min(BEST, room // 3)]
    names = {(row.role, row.name) for row in best}
    others = [row for row in rows if (row.role, row.name) not in names]
    gap = [TrialRow("...", "")] if best else []
    return [*best, *gap, *others[len(others) - (room - len(best) - len(gap)) :]]


def table_of(rows: Sequence[TrialRow], width: int) -> Table:
    """The trials as a table that is no wider than the terminal.

    Args:
        rows: a row each; chosen ones have a mark.
        width: columns of the terminal.
    """
    splits = {row.split for row in rows if row.split}
    split = splits.pop() if len(splits) == 1 else None
    cells = [_cells(row, split) for row in rows]
    headings = dict(zip(COLUMNS, COLUMNS, strict=True))
    headings["score"] = "score" if split is None else f"score ({split})"
    wide = {
        name: max(len(text) for text in (headings[name], *(cell[name] for cell in cells)))
        for name in COLUMNS
    }
    names = [name for name in COLUMNS if name == "" or any(cell[name] for cell in cells)]
    for name in DROPPED:
        if sum(wide[each] + GAP for each in names) - GAP > width and name in names:
            names.remove(name)
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    for name in names:
        left = name in ("", "trial", "role", "state")
        table.add_column(
            headings[name],
            justify="left" if left else "right",
            no_wrap=True,
            overflow="ellipsis",
        )
    for row, cell in zip(rows, cells, strict=True):
        style = "bold" if row.chosen else STYLES.get(row.state)
        table.add_row(*(Text(cell[name]) for name in names), style=style)
    return table


def _cells(row: TrialRow, split: str | None) -> dict[str, str]:
    """The texts of a row by column.

    Args:
        row: of the trial.
        split: that the heading names; None where scores are on several splits.
    """
    score = row.score if split is not None or not row.split else f"{row.score} ({row.split})"
    mark = "*" if row.chosen else ""
    texts = (
        mark,
        row.name,
        row.role,
        row.size,
        row.share,
        row.steps,
        score,
        row.state,
        row.seconds,
    )
    return {
        name: " ".join(printable_lines(text)) for name, text in zip(COLUMNS, texts, strict=True)
    }


def _heading(text: str, elapsed: str, width: int) -> Text:
    """The command and its phase on the left, the time on the right.

    Args:
        text: on the left; is cut where there is no room.
        elapsed: on the right.
        width: of the line.
    """
    room = max(1, width - len(elapsed) - GAP)
    line = Text(text, style="bold", no_wrap=True, end="")
    line.truncate(room, overflow="ellipsis", pad=True)
    return Text.assemble(line, " " * GAP, elapsed, no_wrap=True, overflow="crop")


def bar_line(
    bar: Bar, now: float, width: int, label_width: int, *, ascii_only: bool = False
) -> Text:
    """The line of a bar: label, bar and what is known, as far as there is room.

    Args:
        bar: that is drawn.
        now: on its clock.
        width: of the line.
        label_width: of the longest label.
        ascii_only: whether the terminal has no other signs.
    """
    label = Text(" ".join(printable_lines(bar.label)), style="cyan", no_wrap=True, end="")
    label.truncate(min(label_width, max(8, width // 3)), overflow="ellipsis", pad=True)
    parts: list[str | tuple[str, str] | Text] = [label, "  "]
    length = min(BAR_WIDTH, width // 6)
    if bar.share is not None:
        filled = round(length * bar.share)
        full, empty = ("#", "-") if ascii_only else ("━", "─")
        parts += [(full * filled, "green"), (empty * (length - filled), "dim"), "  "]
    text = Text.assemble(*parts, _known(bar, now), no_wrap=True)
    text.truncate(width, overflow="ellipsis")
    return text


def _known(bar: Bar, now: float) -> str:
    """What is known of a bar, in short.

    Args:
        bar: that is drawn.
        now: on its clock.
    """
    if bar.total is None:
        return readable_seconds(now - bar.started)
    rate, left = None if bar.busy else bar.rate(now), bar.left(now)
    parts = [
        f"{bar.done}/{bar.total} {plural(bar.unit, bar.total)}",
        "" if left is None else f"{readable_seconds(left)} left",
        "" if rate is None else readable_rate(rate, bar.unit),
        *printable_lines(bar.note),
    ]
    return "  ".join(part for part in parts if part)
