"""Report: write the page of a study, and draw its figures."""

from __future__ import annotations

from pathlib import Path

from autoquant.report_page.report_files import write_report
from autoquant.study.folder import Study


def report(study: Study | str | Path) -> list[Path]:
    """Write a study's ``report.html``, and draw its figures into ``figures``, as PNG and SVG.

    A figure without data is left out, and removed where an earlier report wrote it: the plan when
    none fits the budget, the profile when the study has none, the sensitivity when it was not
    measured, a sweep's grid when no run of it is complete.

    Args:
        study: of a search or a sweep, or its folder.

    Returns:
        the files that were written, ``report.html`` last.

    Raises:
        UserError: the study has no outcomes, or one of its files is not what it should be.
        RunError: the files cannot be written.
    """
    return write_report(Study.open(study))
