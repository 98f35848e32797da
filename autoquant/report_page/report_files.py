"""The files of a report: the figures of a study, and its page."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from autoquant.errors import RunError, first_line
from autoquant.figures.study_figures import DEFAULT_FORMATS, draw_study
from autoquant.report_page.page import write_page
from autoquant.study.folder import Study


def write_report(
    study: Study, formats: str | Sequence[str] = DEFAULT_FORMATS, width: str = "page"
) -> list[Path]:
    """Draw every figure of a study, and write its page.

    A page that cannot be made is left out, with a line about it: the figures are there then.

    Args:
        study: of a search or a sweep.
        formats: of the figures: see ``draw_study``.
        width: of the figures: see ``draw_study``.

    Returns:
        the files that were written, the page last.

    Raises:
        UserError: the study has no outcomes, or one of its files is not what it should be; there is
            no such format or width.
        RunError: the files cannot be written.
    """
    figures = draw_study(study, formats, width)
    return figures + _page(study)


def refresh_page(study: Study) -> None:
    """Write the page of a study anew where it has one; a line says so where that fails.

    Args:
        study: of a search or a sweep.
    """
    if study.page_file.is_file():
        try:
            _page(study)
        except RunError as error:
            print(f"autoquant: {error}", file=sys.stderr)


def _page(study: Study) -> list[Path]:
    """The page, written; nothing where it cannot be made."""
    try:
        return [write_page(study)]
    except RunError:
        raise
    except Exception as error:
        reason = first_line(error)
        print(f"autoquant: '{study.page_file}' could not be made: {reason}", file=sys.stderr)
        return []
