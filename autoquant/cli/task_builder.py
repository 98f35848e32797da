"""Tasks from their configuration: a ``_target_`` to import and call, and its arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.utils import instantiate

from autoquant.errors import UserError, shown
from autoquant.plugins import add_current_folder
from autoquant.study.folder import Study
from autoquant.task import Task, check_task
from autoquant.training.device import seed_everything


def build_task(origin: dict[str, Any]) -> Task:
    """Call a task's ``_target_``, which may be in a module of the current folder.

    A configuration is code: run only those you trust.

    Args:
        origin: the section ``task`` of a configuration: ``_target_``, the import path of a class
            or function, and its arguments.

    Raises:
        UserError: there is no ``_target_``, or it does not return a task.
    """
    if "_target_" not in origin:
        raise UserError("the task must name its _target_, got " + repr(sorted(origin)))
    add_current_folder()
    seed_everything(0)  # a task may draw data or a model's weights while it is built
    task = instantiate(origin, _convert_="all")
    return check_task(task)


def enclosing_study(path: str) -> Study:
    """The study that a packed file is in.

    Args:
        path: of the packed file.

    Raises:
        UserError: no folder above the file is a study.
    """
    for folder in Path(path).resolve().parents:
        study = Study(folder)
        if study.config_file.is_file() and (
            study.journal_file.is_file() or study.runs_file.is_file()
        ):
            return study
    raise UserError(f"task must be given for a file outside a study, got artifact={path}")


def recorded_task(study: Study) -> dict[str, Any]:
    """The configuration of a study's task, as the study has stored it.

    Args:
        study: of a search or a sweep.

    Raises:
        UserError: the study's configuration has no task.
    """
    origin = study.config().get("task")
    if not isinstance(origin, dict):
        raise UserError(
            f"'{study.config_file}' must name the task of the study, got {shown(origin)}"
        )
    return origin
