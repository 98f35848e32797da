"""The table of a sweep: a row each for the float model and the runs."""

from __future__ import annotations

from collections.abc import Sequence

from autoquant.budget import readable
from autoquant.progress import TrialRow
from autoquant.study.baseline_record import BaselineRecord
from autoquant.study.sweep_table import SweepRunResult
from autoquant.study.trial_lines import float_row
from autoquant.table import Column, Table
from autoquant.task import as_loss


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


def run_line(result: SweepRunResult, record: BaselineRecord, tally: str = "") -> str:
    """What is printed when a run has ended.

    Args:
        result: of the run.
        record: of the float model.
        tally: runs that have ended, of how many.
    """
    size = "" if result.size_bytes is None else readable(result.size_bytes)
    share = "" if result.size_share is None else f"({result.size_share:.4f}x)"
    valid = "-" if result.valid is None else f"{result.valid:.4g}"
    reason = f": {result.reason}" if result.state == "too large" else ""
    name = f"{result.run.name:<24} {size:>8} {share}"
    score = f"{record.metric} {valid:>7} (valid)"
    if result.test is not None:
        score += f" {result.test:>7.4g} (test)"
    took = f"  {result.steps} steps, {result.seconds:.1f} s" if result.steps else ""
    end = f"  [{tally}]" if tally else ""
    return f"{name}  {score}  {result.state}{reason}{took}{end}"


def run_rows(results: Sequence[SweepRunResult], record: BaselineRecord) -> list[TrialRow]:
    """The float model and the runs as rows of the live table.

    Args:
        results: of the runs that have ended.
        record: of the float model.
    """
    scored = [
        (as_loss(result.valid, record.direction), result.run.name)
        for result in results
        if result.valid is not None
    ]
    ranks = {name: rank for rank, (_, name) in enumerate(sorted(scored), start=1)}
    rows = [
        TrialRow(
            result.run.name,
            "run",
            "" if result.size_bytes is None else readable(result.size_bytes),
            "" if result.size_share is None else f"{result.size_share:.4f}x",
            str(result.steps or ""),
            "" if result.valid is None else f"{result.valid:.5g}",
            "" if result.valid is None else "valid",
            result.state,
            f"{result.seconds:.1f} s",
            ranks.get(result.run.name),
            chosen=ranks.get(result.run.name) == 1,
        )
        for result in results
    ]
    return [float_row(record), *rows]


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
