"""What runs each command: builds the task, calls the library, gives the answer.

Libraries that are slow to import, such as torch, are imported here only when a command runs.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoquant.cli import output
from autoquant.cli.answer import Answer
from autoquant.cli.configuration import filled, search_settings, sweep_settings, task_config
from autoquant.errors import UserError, near
from autoquant.plain_values import plain_values
from autoquant.task import SupportsChecks, check_split

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from autoquant.commands.search import SearchResult
    from autoquant.task import Task


def _prepared(config: DictConfig) -> tuple[Task, dict[str, Any], DictConfig]:
    """The task, how it was configured, and the configuration with the settings that it prefers.

    Bad settings are refused before the task is built, except those of the quantizer, which may go
    together with what the task prefers. The task's own settings cannot refer to that.

    Args:
        config: composed for a command that has a task.

    Raises:
        UserError: a setting is refused, or there is no task.
    """
    with_defaults = filled(config)
    search_settings(with_defaults, without=("quantizer",))
    if "sweep" in with_defaults:
        sweep_settings(with_defaults)
    origin = task_config(with_defaults)
    from autoquant.cli.task_builder import build_task

    task = build_task(origin)
    return task, origin, filled(config, task)


def run_profile(config: DictConfig) -> Answer:
    """The profile of a task's model; notes of the task are printed.

    Args:
        config: composed for the command.
    """
    task, _, config = _prepared(config)
    settings = search_settings(config)
    from autoquant.analysis.model_info import inspect_task
    from autoquant.progress import opened, print_notes
    from autoquant.space.layer_overrides import resolve_overrides

    notes = task.notes() if isinstance(task, SupportsChecks) else ()
    with opened(True, "profile") as shown:
        print_notes(notes, shown)
    info = inspect_task(task, settings.widening)
    rules = resolve_overrides(info.network, settings.rules)
    return output.profile_answer(info.profile, rules, notes)


def run_search(config: DictConfig) -> Answer:
    """Search and draw the figures; a failure where no plan was trained to its end.

    Args:
        config: composed for the command.
    """
    task, origin, config = _prepared(config)
    settings = search_settings(config)
    from autoquant.commands.report import report
    from autoquant.commands.search import search

    result = search(task, settings, study=config.study, origin=origin)
    result = replace(result, figures=tuple(report(result.study)))
    failure = None
    if result.best is None:
        failure = f"no plan within the budget was trained to its end{_first_failure(result)}"
    return output.search_answer(result, tensorboard=settings.tensorboard, failure=failure)


def _first_failure(result: SearchResult) -> str:
    """The first trial that failed and its reason, in parentheses; an empty text if none did."""
    failed = next((outcome for outcome in result.outcomes if outcome.state == "failed"), None)
    return "" if failed is None else f" (trial {failed.trial} failed: {failed.reason})"


def run_sweep(config: DictConfig) -> Answer:
    """Train the plans of a sweep, draw the figures; a failure where no run came to its end.

    Args:
        config: composed for the command.
    """
    task, origin, config = _prepared(config)
    settings, grid = search_settings(config), sweep_settings(config)
    from autoquant.commands.report import report
    from autoquant.commands.sweep import sweep

    options: dict[str, Any] = {"study": config.study, "origin": origin, "on_run": report}
    result = sweep(task, settings, sweep=grid, **options)
    figures = report(result.study) if result.results else []
    result = replace(result, figures=tuple(figures))
    failure = None
    if all(row.state != "complete" for row in result.results):
        reason = next((f": {row.reason}" for row in result.results if row.state == "failed"), "")
        failure = f"no run was trained to its end{reason}"
    return output.sweep_answer(result, tensorboard=settings.tensorboard, failure=failure)


def run_report(config: DictConfig) -> Answer:
    """Write a study's page and figures; their paths.

    Args:
        config: composed for the command.
    """
    from omegaconf import OmegaConf

    from autoquant.commands.report import report
    from autoquant.study.folder import Study
    from autoquant.study.result_values import files_of_report

    options: Any = OmegaConf.to_container(config)
    named = {} if options["format"] is None else {"formats": options["format"]}
    paths = report(Study.open(config.study), width=config.width, **named)
    values = {"study": config.study, **files_of_report(paths)}
    return Answer("\n".join(map(str, paths)), plain_values(values))


def run_solve(config: DictConfig) -> Answer:
    """The plan that a study gives for a budget; it is written where a file is named.

    Args:
        config: composed for the command.
    """
    from autoquant.commands.solve import solve
    from autoquant.files import write_text

    solution = solve(config.study, budget=config.budget)
    if config.output is not None:
        write_text(Path(config.output), solution.plan.to_yaml())
    return output.solve_answer(config.study, solution, config.output)


def run_apply(config: DictConfig) -> Answer:
    """Train and pack a plan of a study.

    Args:
        config: composed for the command.
    """
    from autoquant.plan import Plan
    from autoquant.study.folder import Study

    study = Study.open(config.study)
    plan = None if config.plan is None else Plan.read(config.plan)
    from autoquant.cli.task_builder import build_task, recorded_task

    changes = {key: config[key] for key in ("epochs", "steps", "lr") if config[key] is not None}
    task = build_task(recorded_task(study, trusted=config.trust))
    from autoquant.commands.apply import apply

    applied = apply(
        study.path,
        task,
        trial=config.trial,
        plan=plan,
        budget=config.budget,
        init_from=config.init_from,
        changes=changes,
        device=config.device,
        trust=config.trust,
        tensorboard=config.tensorboard,
    )
    wanted = config.tensorboard
    if wanted is None:
        wanted = study.config().get("tensorboard", False)
    return output.apply_answer(applied, logs=study.tensorboard if wanted else None)


def run_evaluate(config: DictConfig) -> Answer:
    """Score a packed file.

    Args:
        config: composed for the command.

    Raises:
        UserError: a setting is not allowed.
    """
    config = filled(config)
    check_split(config.split)
    task = _task_of_file(config)
    from autoquant.commands.evaluate import evaluate

    options: dict[str, Any] = {key: config[key] for key in ("split", "file", "device", "kernel")}
    score = evaluate(config.artifact, task, **options)
    size = Path(config.artifact).stat().st_size
    scored = f"the {config.split} split" if config.file is None else f"'{config.file}'"
    values = {
        "artifact": config.artifact,
        "metric": task.metric,
        "score": score,
        "split": config.split if config.file is None else None,
        "file": config.file,
        "size_bytes": size,
    }
    text = f"{task.metric} {score:.4f} on {scored}, {size} bytes"
    return Answer(text, plain_values(values))


def run_export(config: DictConfig) -> Answer:
    """Export a packed file; sizes, scores and differences.

    Args:
        config: composed for the command.
    """
    config = filled(config)
    task = _task_of_file(config)
    from autoquant.commands.export import export

    split = None if config.split == "none" else config.split
    options = {key: config[key] for key in ("format", "output", "prefer")}
    exported = export(config.artifact, task, split=split, **options)
    return Answer(f"{exported}", exported.to_dict())


def run_transcribe(config: DictConfig) -> Answer:
    """The words of a sound; how it was converted is printed to stderr.

    Args:
        config: composed for the command.

    Raises:
        UserError: a setting is not allowed.
    """
    config = filled(config)
    task = _task_of_file(config)
    from autoquant.commands.transcribe import transcribe

    options: dict[str, Any] = {key: config[key] for key in ("device", "kernel")}
    found = transcribe(config.artifact, task, config.audio, **options)
    if found.notice:
        print(f"autoquant: '{config.audio}' was converted: {found.notice}", file=sys.stderr)
    values = {"artifact": config.artifact, "audio": config.audio, **found._asdict()}
    return Answer(found.text, plain_values(values))


def _task_of_file(config: DictConfig) -> Task:
    """The task that a packed file is run with: the one that is named, or that of its study.

    Settings of a task that is not named change those of the study's.

    Args:
        config: has the artifact, the task and whether its code is trusted.

    Raises:
        UserError: there is no such file, or its task is not known or not trusted.
    """
    if not Path(config.artifact).is_file():
        raise UserError(f"artifact must be an existing packed file, got '{config.artifact}'")
    from autoquant.cli.task_builder import build_task, recorded_task, study_of_file

    given = {} if config.task is None else task_config(config)
    if "_target_" in given:
        return build_task(given)
    study = study_of_file(config.artifact)
    recorded = recorded_task(study, trusted=config.trust)
    for name in given:
        if name not in recorded:
            requirement = f"settings must be those of the task of study '{study.path}'"
            raise UserError(f"{requirement}, got 'task.{name}' (near: {near(name, recorded)})")
    return build_task({**recorded, **given})
