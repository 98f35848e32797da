"""Apply: train the chosen plan in full and pack it into a file of the promised size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from autoquant.analysis.model_info import network_of
from autoquant.applying.applied import Applied, read_result, write_result
from autoquant.applying.full_training import FullTraining, checkpoint_file
from autoquant.artifact.assets import check_assets, write_assets
from autoquant.budget import Budget
from autoquant.costs.size import size
from autoquant.costs.target import size_in_target
from autoquant.graph.network import Network
from autoquant.graph.randomness import random_state_kept
from autoquant.plan import Plan
from autoquant.progress import opened, print_notes
from autoquant.settings import Search, Training, from_dict, require
from autoquant.settings.renamed import old_arguments
from autoquant.study.chosen_plan import choose_plan
from autoquant.study.chosen_trials import chosen_within
from autoquant.study.folder import Study
from autoquant.study.trust import require_trust
from autoquant.task import SupportsAssets, Task, check_order, check_task
from autoquant.training.callbacks import OnStep, check_callbacks
from autoquant.training.recognise import refuse_another_metric
from autoquant.training.threads import with_threads


@old_arguments("apply")
@random_state_kept()
def apply(
    study: str | Path | Study,
    task: Task,
    *,
    trial: str | int | None = None,
    plan: Plan | None = None,
    budget: str | None = None,
    init_from: str | None = None,
    changes: Mapping[str, Any] | None = None,
    device: str | None = None,
    progress: bool = True,
    trust: bool = False,
    tensorboard: bool | None = None,
    on_step: OnStep | None = None,
) -> Applied:
    """Train a plan in full and pack it.

    An interrupted call resumes from its checkpoint; a finished one is not trained again. The plan
    of a finalist continues the training that the search gave it: only the cool-down is left. A task
    that follows ``SupportsAssets`` has its assets written into the folder ``assets`` beside the
    packed file; they do not count in its size. The study's page, where it has one, gets the result.

    Args:
        study: the folder of a search, or of a sweep.
        task: the task of that study.
        trial: a trial of the search to apply, such as "17" or "w4"; the best one when None. Of a
            sweep, the name of a run.
        plan: a plan to apply instead.
        budget: of a search: apply the trial that is chosen within this budget, such as "0.1x".
        init_from: "baseline" grows the study's float model and trains as its ``final`` says;
            "scratch" draws new weights and trains in low precision from the first step, as
            ``baseline`` says. None: as a sweep's run was trained, else from the baseline.
        changes: fields of that training to change, such as ``epochs``.
        device: where to train; the study's device when None.
        progress: whether to show on stderr what happens: bars in a terminal, else lines.
        trust: whether an engine or a rule for scales that the study names by an import path may be
            imported, though this user has not searched with it.
        tensorboard: whether to write losses and scores for TensorBoard into the study's folder
            tensorboard; as the study's settings say when None.
        on_step: called with a StepResult after each training step; not for the steps that an
            earlier call has done. What it raises ends the training.

    Raises:
        UserError: the study, trial or plan is not there, or does not fit the model; or it names
            code that is not trusted.
        RunError: training diverged or the file cannot be written.
    """
    _check_arguments(study, task, plan, changes, tensorboard, on_step)
    study_folder = Study.open(study)
    refuse_another_metric(task, study_folder)
    config = study_folder.config()
    require_trust(study_folder.config_file, {**config, "task": None}, trusted=trust)
    settings = with_threads(study_folder.search_settings(), study_folder)
    name = None if trial is None else str(trial)
    if budget is not None:
        requirement = "apply takes one of trial, plan and budget"
        require(name is None and plan is None, requirement, f"budget {budget} and another")
        name = chosen_within(study_folder, budget).trial
    chosen = choose_plan(study_folder, settings, name, plan)
    chosen = chosen if init_from is None else chosen.initialized(init_from)
    training = _training(settings, chosen.init_from, dict(changes or {}))
    network = network_of(task)
    size.of(network, chosen.plan, settings.quantizer)  # refuses a plan of another model
    assets = check_assets(task.assets()) if isinstance(task, SupportsAssets) else {}
    folder = study_folder.applied(chosen.name)
    applied = read_result(folder, chosen.plan, training)
    with opened(progress, f"apply {chosen.name}") as shown:
        print_notes(_budget_notes(study_folder, settings, network, chosen.plan), shown)
        if applied is None:
            wanted = settings.tensorboard if tensorboard is None else tensorboard
            settings = settings.changed(device=device or settings.device, tensorboard=wanted)
            job = FullTraining(task, settings, network, study_folder, chosen, training, shown)
            applied = job.run(on_step)
            write_result(folder, applied, training)
    write_assets(folder, assets)
    checkpoint_file(folder, chosen.plan).unlink(missing_ok=True)
    _refresh_page(study_folder)
    return applied


def _refresh_page(study: Study) -> None:
    """Write the result into the study's page, where it has one."""
    if study.page_file.is_file():
        from autoquant.report_page.report_files import refresh_page  # matplotlib is slow to import

        refresh_page(study)


def _check_arguments(
    study: object,
    task: object,
    plan: object,
    changes: object,
    tensorboard: object,
    on_step: object,
) -> None:
    """Raise a UserError where an argument of ``apply`` is of another type.

    Args:
        study: a path or a study.
        task: a task.
        plan: a plan or None.
        changes: a mapping or None.
        tensorboard: true, false or None.
        on_step: a function or None.
    """
    valid = tensorboard is None or isinstance(tensorboard, bool)
    require(valid, "tensorboard must be true or false", tensorboard)
    requirement = "plan must be an autoquant.Plan (Plan.read reads a file)"
    require(plan is None or isinstance(plan, Plan), requirement, plan)
    check_order("apply", study, task)
    check_task(task)
    require(changes is None or isinstance(changes, Mapping), "changes must be a mapping", changes)
    check_callbacks(on_step=on_step)


def _budget_notes(study: Study, settings: Search, network: Network, plan: Plan) -> Sequence[str]:
    """A line where a plan is above the budget of its study.

    Args:
        study: of a search or a sweep.
        settings: of the study.
        network: of the float model.
        plan: of this call.
    """
    if "sweep" in study.config() or not study.baseline_record.is_file():
        return ()
    record = study.baseline()
    options = {"float_cost": record.size_bytes, "parameters": record.parameters}
    values = {text: Budget.parse(text).value(**options) for text in settings.budgets}
    text, value = max(values.items(), key=lambda pair: pair[1])
    bytes_ = int(size_in_target(settings).of(network, plan, settings.quantizer))
    if bytes_ <= value:
        return ()
    where = "" if settings.target is None else f" in a file for target={settings.target}"
    return (f"the plan has {bytes_} bytes{where}, above the study's budget {text} = {value} bytes",)


def _training(settings: Search, init_from: str, changes: dict[str, Any]) -> Training:
    """The study's full training with some fields changed.

    Args:
        settings: of the study.
        init_from: from scratch, the training is that of the float model.
        changes: new values by field; epochs replace the steps of the study.
    """
    if "epochs" in changes and "steps" not in changes:
        changes["steps"] = None
    name = "baseline" if init_from == "scratch" else "final"
    return from_dict(Training, asdict(getattr(settings, name)) | changes, f"{name}.")
