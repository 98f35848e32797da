"""All figures of a study: drawn, and written to files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from autoquant.errors import UserError, shown
from autoquant.figures.curves import draw_sizes, draw_widths, size_curves, width_curves
from autoquant.figures.heatmap import draw_heatmap, heatmap_data
from autoquant.figures.history import draw_history, history_data
from autoquant.figures.layer_bytes import plan_bytes
from autoquant.figures.page import PAGE, Page, page_named, settle
from autoquant.figures.pareto import draw_pareto
from autoquant.figures.pareto_points import pareto_data
from autoquant.figures.plan_table import draw_plan, plan_data
from autoquant.figures.profile_bars import draw_profile, profile_data
from autoquant.figures.rung_history import draw_rung_history, rung_history_data
from autoquant.figures.sensitivity import draw_sensitivity, sensitivity_data
from autoquant.figures.study_data import StudyData, read_study_data
from autoquant.figures.sweep_data import read_sweep_data
from autoquant.files import make_folder, replacing, writing
from autoquant.study.folder import Study

FORMATS: dict[str, dict[str, Any]] = {
    "png": {},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}
"""File formats, with the metadata to be written: no date, so that equal figures are equal files."""
DEFAULT_FORMATS = ("png", "svg")
DPI = 170  # of the PNG files


def draw_study(
    study: Study, formats: str | Sequence[str] = DEFAULT_FORMATS, width: str = PAGE.name
) -> list[Path]:
    """Draw every figure of a study into its ``figures`` folder.

    A figure without data is left out, and removed where an earlier call wrote it: the plan when
    none fits the budget, the profile when the study has none, the sensitivity when it was not
    measured, a sweep's grid when no run of it is complete.

    Args:
        study: of a search or a sweep.
        formats: of the files: "png", "svg", "pdf", or several of them.
        width: "page", or "column" for one column of a paper.

    Returns:
        the files that were written.

    Raises:
        UserError: the study has no outcomes, or one of its files is not what it should be; there is
            no such format or width.
        RunError: the figures cannot be written.
    """
    page, kinds = page_named(width), _checked(formats)
    with matplotlib.rc_context(page.settings):
        drawn = figures_of(study, page)
        make_folder(study.figures)
        return [
            path for name, figure in drawn.items() for path in _save(figure, study, name, kinds)
        ]


def figures_of(study: Study, page: Page) -> dict[str, Figure | None]:
    """The figures of a study, by their names; None without data.

    Args:
        study: of a search or a sweep.
        page: whose settings matplotlib has.
    """
    drawn = (_of_sweep if study.runs_file.is_file() else _of_search)(study, page)
    bars = profile_data(study.profile_file)
    return {**drawn, "profile": draw_profile(bars, page) if bars else None}


def _checked(formats: object) -> tuple[str, ...]:
    """The formats, each once.

    Args:
        formats: a name, or several.

    Raises:
        UserError: there is none, or one that is not known.
    """
    listed = [formats] if isinstance(formats, str) else formats
    named = listed if isinstance(listed, Sequence) else ()
    if not named or not all(isinstance(each, str) and each in FORMATS for each in named):
        requirement = f"format must be one or several of {', '.join(FORMATS)}"
        raise UserError(f"{requirement}, got {shown(formats)}")
    return tuple(dict.fromkeys(named))


def _of_search(study: Study, page: Page) -> dict[str, Figure | None]:
    """The figures of a search, by their names; None without data."""
    data = read_study_data(study)
    sensitivity = sensitivity_data(study.sensitivity_file, data.chosen)
    return {
        "pareto": draw_pareto(pareto_data(data), page),
        "plan": _plan(study, data, page),
        "history": _history(data, page),
        "sensitivity": draw_sensitivity(sensitivity, page) if sensitivity else None,
    }


def _plan(study: Study, data: StudyData, page: Page) -> Figure | None:
    """The chosen plan, if there is one.

    Args:
        study: of a search.
        data: of it.
        page: of the figure.
    """
    chosen = data.chosen
    return draw_plan(plan_data(chosen, plan_bytes(study, chosen)), page) if chosen else None


def _history(data: StudyData, page: Page) -> Figure:
    """The history of a search; studies of earlier versions have another one."""
    if data.has_rungs:
        return draw_rung_history(rung_history_data(data), page)
    return draw_history(history_data(data), page)


def _of_sweep(study: Study, page: Page) -> dict[str, Figure | None]:
    """The figures of a sweep, by their names; None without data."""
    data = read_sweep_data(study)
    heatmap, sizes, widths = heatmap_data(data), size_curves(data), width_curves(data)
    return {
        "grid": draw_heatmap(heatmap, page) if heatmap else None,
        "curves": draw_sizes(sizes, page) if sizes else None,
        "widths": draw_widths(widths, page) if widths else None,
    }


def _save(figure: Figure | None, study: Study, name: str, kinds: Sequence[str]) -> list[Path]:
    """Write a figure in some formats, or remove its files in all of them.

    Args:
        figure: None where there are no data.
        study: whose folder of figures is used.
        name: of the files, without a suffix.
        kinds: the formats.
    """
    if figure is None:
        for kind in FORMATS:
            path = study.figures / f"{name}.{kind}"
            with writing(path):
                path.unlink(missing_ok=True)
        return []
    settle(figure)
    paths = {kind: study.figures / f"{name}.{kind}" for kind in kinds}
    for kind, path in paths.items():
        with replacing(path) as temporary:
            figure.savefig(temporary, format=kind, dpi=DPI, metadata=FORMATS[kind])
    return [*paths.values()]
