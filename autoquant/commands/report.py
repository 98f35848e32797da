"""Report: write the page of a study, and draw its figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from autoquant.figures.study_figures import DEFAULT_FORMATS
from autoquant.report_page.report_files import write_report
from autoquant.study.folder import Study


def report(
    study: Study | str | Path,
    *,
    formats: str | Sequence[str] = DEFAULT_FORMATS,
    width: str = "page",
) -> list[Path]:
    """Write a study's ``report.html``, and draw its figures into its ``figures`` folder.

    A figure without data is left out, and removed where an earlier report wrote it: the plan when
    none fits the budget, the profile when the study has none, the sensitivity when it was not
    measured, a sweep's grid when no run of it is complete.

    Args:
        study: of a search or a sweep, or its folder.
        formats: of the files: "png", "svg" or "pdf", or several of them. Files of other formats
            stay as they are. The same study gives the same files.
        width: "page" (180 mm), or "column" (85 mm) for one column of a paper.

    Returns:
        the files that were written, ``report.html`` last.

    Raises:
        UserError: the study has no outcomes, or one of its files is not what it should be; there is
            no such format or width.
        RunError: the files cannot be written.
    """
    return write_report(Study.open(study), formats, width)
