"""All figures of a study: drawn, and written to files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from autoquant.figures.curves import draw_sizes, draw_widths, size_curves, width_curves
from autoquant.figures.heatmap import draw_heatmap, heatmap_data
from autoquant.figures.history import draw_history, history_data
from autoquant.figures.pareto import draw_pareto
from autoquant.figures.pareto_points import pareto_data
from autoquant.figures.plan_table import draw_plan, plan_data
from autoquant.figures.profile_bars import draw_profile, profile_data
from autoquant.figures.rung_history import draw_rung_history, rung_history_data
from autoquant.figures.sensitivity import draw_sensitivity, sensitivity_data
from autoquant.figures.study_data import StudyData, read_study_data
from autoquant.figures.style import SETTINGS
from autoquant.figures.sweep_data import read_sweep_data
from autoquant.files import make_folder, replacing, writing
from autoquant.study.folder import Study

FORMATS: dict[str, dict[str, Any]] = {"png": {}, "svg": {"Date": None}}
"""File formats, with the metadata to be written: no date, so that equal figures are equal files."""
DPI = 150  # of the PNG files


def draw_study(study: Study) -> list[Path]:
    """Draw every figure of a study into its ``figures`` folder, as PNG and SVG.

    A figure without data is left out, and removed where an earlier call wrote it: the plan when
    none fits the budget, the profile when the study has none, the sensitivity when it was not
    measured, a sweep's grid when no run of it is complete.

    Args:
        study: of a search or a sweep.

    Returns:
        the files that were written.

    Raises:
        UserError: the study has no outcomes, or one of its files is not what it should be.
        RunError: the figures cannot be written.
    """
    with matplotlib.rc_context(SETTINGS):
        drawn = _of_sweep(study) if study.runs_file.is_file() else _of_search(study)
        bars = profile_data(study.profile_file)
        drawn["profile"] = draw_profile(bars) if bars else None
        make_folder(study.figures)
        return [path for name, figure in drawn.items() for path in _save(figure, study, name)]


def _of_search(study: Study) -> dict[str, Figure | None]:
    """The figures of a search, by their names; None without data."""
    data = read_study_data(study)
    sensitivity = sensitivity_data(study.sensitivity_file, data.chosen)
    return {
        "pareto": draw_pareto(pareto_data(data)),
        "plan": draw_plan(plan_data(data.chosen)) if data.chosen else None,
        "history": _history(data),
        "sensitivity": draw_sensitivity(sensitivity) if sensitivity else None,
    }


def _history(data: StudyData) -> Figure:
    """The history of a search; studies of earlier versions have another one."""
    if data.has_rungs:
        return draw_rung_history(rung_history_data(data))
    return draw_history(history_data(data))


def _of_sweep(study: Study) -> dict[str, Figure | None]:
    """The figures of a sweep, by their names; None without data."""
    data = read_sweep_data(study)
    heatmap, sizes, widths = heatmap_data(data), size_curves(data), width_curves(data)
    return {
        "grid": draw_heatmap(heatmap) if heatmap else None,
        "curves": draw_sizes(sizes) if sizes else None,
        "widths": draw_widths(widths) if widths else None,
    }


def _save(figure: Figure | None, study: Study, name: str) -> list[Path]:
    """Write a figure in every format, or remove its files.

    Args:
        figure: None where there are no data.
        study: whose folder of figures is used.
        name: of the files, without a suffix.
    """
    paths = {kind: study.figures / f"{name}.{kind}" for kind in FORMATS}
    for kind, path in paths.items():
        if figure is None:
            with writing(path):
                path.unlink(missing_ok=True)
        else:
            with replacing(path) as temporary:
                figure.savefig(temporary, format=kind, dpi=DPI, metadata=FORMATS[kind])
    return [] if figure is None else list(paths.values())
