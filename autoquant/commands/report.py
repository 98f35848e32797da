"""Report: draw the figures of a study and write them to files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from autoquant.figures.study_figures import DEFAULT_FORMATS, draw_study
from autoquant.study.folder import Study


def report(
    study: Study | str | Path,
    *,
    formats: str | Sequence[str] = DEFAULT_FORMATS,
    width: str = "page",
) -> list[Path]:
    """Draw every figure of a study into its ``figures`` folder.

    A figure without data is left out, and removed where an earlier report wrote it: the plan when
    none fits the budget, the profile when the study has none, the sensitivity when it was not
    measured, a sweep's grid when no run of it is complete.

    Args:
        study: of a search or a sweep, or its folder.
        formats: of the files: "png", "svg" or "pdf", or several of them. Files of other formats
            stay as they are. The same study gives the same files.
        width: "page" (180 mm), or "column" (85 mm) for one column of a paper.

    Returns:
        the files that were written.

    Raises:
        UserError: the study has no outcomes, or one of its files is not what it should be; there is
            no such format or width.
        RunError: the figures cannot be written.
    """
    return draw_study(Study.open(study), formats, width)
