"""The table of a sweep: a row each for the float model and the runs."""

from __future__ import annotations

from collections.abc import Sequence

from autoquant.budget import readable
from autoquant.study.baseline_record import BaselineRecord
from autoquant.study.sweep_table import SweepRunResult
from autoquant.table import Column, Table


def run_table(
    record: BaselineRecord, results: Sequence[SweepRunResult], notes: Sequence[str]
) -> Table:
    """The sizes and scores of the runs.

    Args:
        record: of the float model.
        results: in the order of the rows.
        notes: below the table.
    """
    rows = [_row("float baseline", record.size_bytes, record, (record.score, record.test))]
    rows += [
        _row(row.run.name, row.size_bytes, record, (row.valid, row.test), row.state)
        for row in results
    ]
    return Table(
        f"{record.metric} by run; bytes of the packed file, and their share of the float model's",
        (
            Column("run", "left"),
            *map(Column, ("bytes", "share", "valid", "test")),
            Column("state", "left"),
        ),
        tuple(rows),
        tuple(notes),
    )


def run_line(result: SweepRunResult, record: BaselineRecord) -> str:
    """What is printed when a run has ended.

    Args:
        result: of the run.
        record: of the float model.
    """
    size = "" if result.size_bytes is None else readable(result.size_bytes)
    share = "" if result.size_share is None else f"({result.size_share:.4f}x)"
    valid = "-" if result.valid is None else f"{result.valid:.4g}"
    reason = f": {result.reason}" if result.state == "too large" else ""
    name = f"{result.run.name:<24} {size:>8} {share}"
    return f"{name}  {record.metric} {valid:>7}  {result.state}{reason}"


def _row(
    name: str,
    size_bytes: int | None,
    record: BaselineRecord,
    scores: tuple[float | None, ...],
    state: str = "",
) -> tuple[str, ...]:
    """A row of the table.

    Args:
        name: of the run, or of the float model.
        size_bytes: of its file; None where no plan fits its budget.
        record: of the float model, over whose bytes the share is.
        scores: on the valid and the test split; None where there is none.
        state: of the run.
    """
    share = "-" if size_bytes is None else f"{size_bytes / record.size_bytes:.4f}x"
    written = ("-" if value is None else f"{value:.5g}" for value in scores)
    return name, "-" if size_bytes is None else str(size_bytes), share, *written, state
