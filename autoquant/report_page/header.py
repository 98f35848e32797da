"""Header: what the page is about, and the numbers that matter most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

from autoquant.budget import readable
from autoquant.distribution import NAME
from autoquant.figures.labels import format_score, format_with_error
from autoquant.figures.style import better
from autoquant.report_page.results import ResultRow
from autoquant.report_page.settings_table import task_name
from autoquant.study.baseline_record import BaselineRecord
from autoquant.study.folder import Study


@dataclass(frozen=True)
class Tile:
    """A number that matters.

    Attributes:
        heading: what it is of.
        value: the score on the valid split.
        detail: size, below it.
        test: the score on the test split; empty where it was not scored.
        kind: that of its row in the table of results.
    """

    heading: str
    value: str
    detail: str
    test: str
    kind: str


@dataclass(frozen=True)
class Header:
    """The head of the page.

    Attributes:
        kind: "search" or "sweep".
        task: name of the task.
        study: folder of the study.
        facts: metric, budgets and version, in words.
        tiles: the float model, the chosen plans, the applied ones.
        metric: name of the score.
        better: which scores are good: "lower" or "higher".
        version: of autoquant, which wrote the page.
    """

    kind: str
    task: str
    study: str
    facts: tuple[str, ...]
    tiles: tuple[Tile, ...]
    metric: str
    better: str
    version: str


def header(
    study: Study,
    kind: str,
    baseline: BaselineRecord,
    facts: Sequence[str],
    rows: Sequence[ResultRow],
) -> Header:
    """The head of a study's page.

    Args:
        study: of a search or a sweep.
        kind: which of the two.
        baseline: the float model.
        facts: budgets and the like, in words.
        rows: of the table of results.
    """
    shown = [row for row in rows if row.kind in ("float", "chosen", "applied")]
    return Header(
        kind=kind,
        task=task_name(study.config()),
        study=str(study.path),
        facts=tuple(facts),
        tiles=tuple(_tile(row, baseline) for row in shown),
        metric=baseline.metric,
        better=better(baseline),
        version=version(NAME),
    )


def _tile(row: ResultRow, baseline: BaselineRecord) -> Tile:
    score = format_with_error(row.valid, row.error)
    size = readable(row.size_bytes)
    if row.kind == "float":
        detail = f"{size}, {baseline.parameters:,} parameters"
    else:
        detail = f"{size}, {row.share:.4f}x ({1 / row.share:.1f} times smaller)"
    test = "" if row.test is None else f"test split: {format_score(row.test)}"
    return Tile(row.name, score, detail, test, row.kind)
