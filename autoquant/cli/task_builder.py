"""Tasks from their configuration: a ``_target_`` to import and call, and its arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.utils import instantiate

from autoquant.artifact import packed_file
from autoquant.errors import UserError, shown
from autoquant.plugins import add_current_folder
from autoquant.seeds import seed_everything
from autoquant.study.folder import Study
from autoquant.study.trust import foreign_paths, require_trust
from autoquant.task import Task, check_task


def build_task(origin: dict[str, Any]) -> Task:
    """Call a task's ``_target_``, which may be in a module of the current folder.

    A configuration is code: see ``recorded_task`` for one that somebody else may have written.

    Args:
        origin: the section ``task`` of a configuration: ``_target_``, the import path of a class
            or function, and its arguments.

    Raises:
        UserError: there is no ``_target_``, or it does not return a task.
    """
    if "_target_" not in origin:
        raise UserError("the task must name its _target_, got " + repr(sorted(origin)))
    if any(foreign_paths({"task": origin})):  # else no module of the current folder is meant
        add_current_folder()
    seed_everything(0)  # a task may draw data or a model's weights while it is built
    task = instantiate(origin, _convert_="all")
    return check_task(task)


def study_of_file(path: str) -> Study:
    """The study of a packed file: ``STUDY/applied/NAME/FILE``, or ``STUDY/packed/FILE`` of a sweep.

    Args:
        path: of the packed file.

    Raises:
        UserError: the file is somewhere else, or it is no packed file.
    """
    folder = Path(path).resolve().parent
    for place, name in ((folder, "packed"), (folder.parent, "applied")):
        study = Study(place.parent)
        if place.name == name and study.config_file.is_file():
            return study
    packed_file.read(path)
    raise UserError(f"task must be given for a file outside a study, got artifact={path}")


def recorded_task(study: Study, *, trusted: bool) -> dict[str, Any]:
    """The configuration of a study's task, as the study has stored it.

    Args:
        study: of a search or a sweep.
        trusted: whether the user trusts it.

    Raises:
        UserError: the study's configuration has no task, or one that is not trusted.
    """
    config = study.config()
    origin = config.get("task")
    if not isinstance(origin, dict):
        requirement = f"'{study.config_file}' must name the task of the study"
        raise UserError(f"{requirement}, got {shown(origin)}")
    if "_target_" not in origin:
        raise UserError(
            f"study '{study.path}' must be applied and evaluated from Python (aq.apply, "
            f"aq.evaluate), where its task was given, got task={origin.get('name')}"
        )
    require_trust(study.config_file, config, trusted=trusted)
    return origin
