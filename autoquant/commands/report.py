"""Reporter: draws the figures of a study and keeps them as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from autoquant.errors import RunError
from autoquant.figures.curves import draw_sizes, draw_widths, size_curves, width_curves
from autoquant.figures.heatmap import draw_grid, grid_data
from autoquant.figures.history import draw_history, history_data
from autoquant.figures.pareto import draw_pareto, pareto_data
from autoquant.figures.plan_table import draw_plan, plan_data
from autoquant.figures.sensitivity import draw_sensitivity, sensitivity_data
from autoquant.figures.shares import draw_profile, profile_data
from autoquant.figures.study_data import read_facts
from autoquant.figures.style import SETTINGS
from autoquant.figures.sweep_data import read_sweep
from autoquant.files import replacing
from autoquant.study.folder import Study

FORMATS: dict[str, dict[str, Any]] = {"png": {}, "svg": {"Date": None}}  # with their metadata
DPI = 150


def report(study: Study) -> list[Path]:
    """Draw every figure of a study into its ``figures`` folder, as PNG and SVG.

    A figure that has nothing to show (the plan, when none fits the budget; the profile, when the
    study has none; the sensitivity, when it was not measured; a sweep's grid, when no cell of it is
    complete) is left out, and removed where an earlier report left it.

    Raises:
        UserError: the study has no outcomes, or one of its files is not what it should be.
        RunError: the figures cannot be written.
    """
    with matplotlib.rc_context(SETTINGS):
        drawn = _of_sweep(study) if study.cells_file.is_file() else _of_search(study)
        bars = profile_data(study.profile_file)
        drawn["profile"] = draw_profile(bars) if bars else None
        try:
            study.figures.mkdir(exist_ok=True)
            return [path for name, figure in drawn.items() for path in _save(figure, study, name)]
        except OSError as error:
            raise RunError(f"'{study.figures}' cannot be written: {error.strerror}") from error


def _of_search(study: Study) -> dict[str, Figure | None]:
    facts = read_facts(study)
    rises = sensitivity_data(study.sensitivity_file, facts.chosen)
    return {
        "pareto": draw_pareto(pareto_data(facts)),
        "plan": draw_plan(plan_data(facts.chosen)) if facts.chosen else None,
        "history": draw_history(history_data(facts)),
        "sensitivity": draw_sensitivity(rises) if rises else None,
    }


def _of_sweep(study: Study) -> dict[str, Figure | None]:
    facts = read_sweep(study)
    grid, sizes, widths = grid_data(facts), size_curves(facts), width_curves(facts)
    return {
        "grid": draw_grid(grid) if grid else None,
        "curves": draw_sizes(sizes) if sizes else None,
        "widths": draw_widths(widths) if widths else None,
    }


def _save(figure: Figure | None, study: Study, name: str) -> list[Path]:
    paths = {kind: study.figures / f"{name}.{kind}" for kind in FORMATS}
    for kind, path in paths.items():
        if figure is None:
            path.unlink(missing_ok=True)
        else:
            with replacing(path) as temporary:
                figure.savefig(temporary, format=kind, dpi=DPI, metadata=FORMATS[kind])
    return [] if figure is None else list(paths.values())
