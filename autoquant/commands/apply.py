"""Apply: train the chosen plan in full and pack it into a file of the promised size."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from autoquant.analysis.model_info import network_of
from autoquant.artifact import packed_file
from autoquant.artifact.assets import check_assets, write_assets
from autoquant.artifact.manifest import SizeBreakdown, breakdown
from autoquant.backend import Compute, computing
from autoquant.budget import Budget, readable
from autoquant.costs.plan_costs import PlanCosts, costs_of, float_costs
from autoquant.costs.size import size
from autoquant.costs.target import size_in_target
from autoquant.errors import RunError, UserError
from autoquant.files import write_text, writing
from autoquant.graph.equivalence import ExampleRun
from autoquant.graph.network import Network
from autoquant.graph.prepare import prepare
from autoquant.graph.randomness import random_state_kept
from autoquant.plain_values import plain_values
from autoquant.plan import Plan
from autoquant.progress import Progress, opened, print_notes
from autoquant.reading import read_json_file
from autoquant.settings import Search, Training, from_dict, require
from autoquant.settings.renamed import old_arguments
from autoquant.study import records
from autoquant.study.baseline_record import BaselineRecord
from autoquant.study.chosen_plan import ChosenPlan, choose_plan
from autoquant.study.chosen_trials import chosen_within
from autoquant.study.folder import Study
from autoquant.study.trust import require_trust
from autoquant.table import Column, Table, Tabular
from autoquant.task import SupportsAssets, Task, check_order, check_task
from autoquant.training.baseline import load_or_train_baseline
from autoquant.training.callbacks import OnStep, check_callbacks, in_turn
from autoquant.training.candidate import Candidate, StartingPoint, train_candidate
from autoquant.training.device import check_autocast, resolve_device
from autoquant.training.float_model import build_float_model, check_new_weights
from autoquant.training.recognise import refuse_another_metric
from autoquant.training.rungs import train_rung
from autoquant.training.scoring import score
from autoquant.training.tensorboard_log import check_tensorboard, open_log
from autoquant.training.threads import threads_set, with_threads

LABEL = "apply"
"""Name of the training in a StepResult."""


@dataclass(frozen=True)
class Applied(Tabular):
    """A plan, trained in full and packed.

    Attributes:
        artifact: the packed file.
        plan: bits and widths of every layer.
        metric: name of the scores, such as "perplexity".
        valid: score on the valid split.
        test: score on the test split.
        baseline_valid: the float model's score on the valid split.
        baseline_test: the float model's score on the test split.
        costs: the packed plan's bytes, activations and operations.
        baseline_costs: the float model's; its bytes are those of its tensors.
        steps: training steps.
        seconds: training time.
        breakdown: what the packed file's bytes are; None in results of earlier versions.
        target: the runtime whose files the study's budget limits; None for packed files.
        target_bytes: of the file that export writes for it.
    """

    artifact: Path
    plan: Plan
    metric: str
    valid: float
    test: float
    baseline_valid: float
    baseline_test: float
    costs: PlanCosts
    baseline_costs: PlanCosts
    steps: int
    seconds: float
    breakdown: SizeBreakdown | None = None
    target: str | None = field(default=None, metadata=records.OPTIONAL)
    target_bytes: int | None = field(default=None, metadata=records.OPTIONAL)

    @property
    def tables(self) -> tuple[Table, ...]:
        """The packed plan's scores and costs beside the float model's, and the plan."""
        return _cost_table(self), *self.plan.tables

    @property
    def size_bytes(self) -> int:
        """Bytes of the packed file."""
        return self.costs.size_bytes

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``autoquant apply --json`` writes them."""
        share = self.size_bytes / self.baseline_costs.size_bytes
        return {**plain_values(self), "size_bytes": self.size_bytes, "size_share": share}


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
    applied = _read_result(folder, chosen.plan, training)
    with opened(progress, f"apply {chosen.name}") as shown:
        print_notes(_budget_notes(study_folder, settings, network, chosen.plan), shown)
        if applied is None:
            wanted = settings.tensorboard if tensorboard is None else tensorboard
            settings = settings.changed(device=device or settings.device, tensorboard=wanted)
            job = _Job(task, settings, network, study_folder, chosen, training, shown)
            applied = job.run(on_step)
            _write_result(folder, applied, training)
    write_assets(folder, assets)
    _checkpoint(folder, chosen.plan).unlink(missing_ok=True)
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


def _cost_table(applied: Applied) -> Table:
    """A row for each score and cost."""
    plan, base, metric = applied.costs, applied.baseline_costs, applied.metric
    rows = (
        (f"{metric}, valid", f"{applied.baseline_valid:.4f}", f"{applied.valid:.4f}"),
        (f"{metric}, test", f"{applied.baseline_test:.4f}", f"{applied.test:.4f}"),
        *_sizes(applied),
        ("activations read", readable(base.activation_bytes), readable(plan.activation_bytes)),
        ("MACs", f"{base.macs:,}", f"{plan.macs:,}"),
        ("bit-operations", f"{base.bit_ops:,}", f"{plan.bit_ops:,}"),
    )
    steps = "1 step" if applied.steps == 1 else f"{applied.steps} steps"
    notes = (
        f"trained for {steps}" if applied.steps else "calibrated, not trained",
        *(() if applied.breakdown is None else (f"of the file: {applied.breakdown}",)),
        f"the {'packed ' * bool(applied.target)}file has {plan.size_bytes} bytes, "
        f"{plan.size_bytes / base.size_bytes:.4f}x; "
        "activations and operations are for one position; the paper's neuron-proportional size "
        f"would be {plan.paper_size_ratio:.4f}x",
        f"packed file: {applied.artifact}",
    )
    columns = (Column("", "left"), Column("float baseline"), Column("packed plan"))
    return Table("the packed plan beside the float model", columns, rows, notes)


def _sizes(applied: Applied) -> Iterator[tuple[str, str, str]]:
    """The rows of sizes: of the packed file, and of the file whose size the budget limits."""
    base = readable(applied.baseline_costs.size_bytes)
    packed = readable(applied.costs.size_bytes)
    if applied.target is None or applied.target_bytes is None:
        yield "size", base, packed
    else:
        yield "size, packed file", base, packed
        yield f"size, target={applied.target}", base, readable(applied.target_bytes)


# --- which plan, and which training --------------------------------------------------------------


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


def _checkpoint(folder: Path, plan: Plan) -> Path:
    return folder / f".{plan.digest}.checkpoint"


# --- training and packing ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Job:
    """What is trained and packed.

    Attributes:
        task: of the study.
        settings: of the study; the device and TensorBoard as this call says.
        network: of the float model.
        study: whose float model the plan grows from.
        chosen: the plan.
        training: the full one.
        progress: is told what happens.
    """

    task: Task
    settings: Search
    network: Network
    study: Study
    chosen: ChosenPlan
    training: Training
    progress: Progress

    @property
    def folder(self) -> Path:
        """Of the packed file and of the checkpoint."""
        return self.study.applied(self.chosen.name)

    def run(self, on_step: OnStep | None) -> Applied:
        """Train the float model, where it is not there, and the plan; pack it.

        Args:
            on_step: called after each training step.
        """
        chosen, study = self.chosen, self.study
        if chosen.init_from == "scratch":
            check_new_weights(self.task)
        device = resolve_device(self.settings.device)
        check_autocast(self.training, device)
        check_tensorboard(self.settings.tensorboard)
        names = {LABEL: f"{LABEL} {chosen.name}"}  # several plans of a study may be applied
        with open_log(self.settings.tensorboard, study.tensorboard, names) as log:
            on_step = in_turn(None if log is None else log.on_step, on_step)
            options: dict[str, Any] = {"progress": self.progress, "on_step": on_step}
            with self.progress.phase("float model"):
                trained, record = load_or_train_baseline(
                    self.task, self.settings, study, device, **options
                )
            point = StartingPoint(self.task, prepare(trained), self.network, self.settings)
            self._prepare_folder()
            try:
                applied = self._train_and_pack(
                    point.initialized(chosen.init_from, chosen.seed), on_step
                )
                with self.progress.phase("scoring the float model on the test split"):
                    return _with_baseline(applied, trained, self.task, record)
            except Exception as error:
                error.add_note(
                    f"in applying {chosen.name} of '{study.path}', {chosen.plan.summary}"
                )
                raise

    def _prepare_folder(self) -> None:
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        self.study.clean()
        write_text(self.folder / "plan.yaml", self.chosen.plan.to_yaml())

    def _train_and_pack(self, point: StartingPoint, on_step: OnStep | None) -> Applied:
        """Train, pack, load back and score; the baseline's scores are left out.

        Args:
            point: the weights that the plan is trained from, and the settings.
            on_step: called after each training step.
        """
        task, plan, network = self.task, self.chosen.plan, self.network
        scheme = self.settings.quantizer
        path, checkpoint = self.folder / "model.safetensors", _checkpoint(self.folder, plan)
        with threads_set(self.settings.threads), computing(Compute(self.settings.kernel)):
            with self.progress.phase("training the plan"):
                candidate = self._trained(point, checkpoint, on_step)
            with self.progress.phase("packing, and comparing the file with the model"):
                packed_file.save(path, candidate.model, network, plan, scheme)
                loaded = _reload(path, candidate.model, task)
            with self.progress.phase("scoring the file on the test split"):
                test = score(loaded, task, "test")
            return Applied(
                artifact=path,
                plan=plan,
                metric=task.metric,
                valid=candidate.score,
                test=test,
                baseline_valid=math.nan,
                baseline_test=math.nan,
                costs=costs_of(network, plan, scheme),
                baseline_costs=float_costs(network),
                steps=candidate.run.steps,
                seconds=candidate.run.seconds,
                breakdown=breakdown(network, plan, scheme),
                target=self.settings.target,
                target_bytes=self._target_bytes(),
            )

    def _target_bytes(self) -> int | None:
        """Bytes of the file that the budget limits; None where that is the packed one."""
        if self.settings.target is None:
            return None
        cost, scheme = size_in_target(self.settings), self.settings.quantizer
        return int(cost.of(self.network, self.chosen.plan, scheme))

    def _trained(self, point: StartingPoint, checkpoint: Path, on_step: OnStep | None) -> Candidate:
        """Train the plan; from where the search left it, if the training is that of its last rung.

        Args:
            point: the weights that the plan is trained from, and the settings.
            checkpoint: file to resume from and to save to.
            on_step: called after each training step.
        """
        plan, training = self.chosen.plan, self.training
        options: dict[str, Any] = {"on_step": on_step, "progress": self.progress}
        options |= {"label": LABEL, "checkpoint": checkpoint}
        if training.schedule != "constant" or self.chosen.init_from == "scratch":
            return train_candidate(point, plan, training, **options)
        steps = training.length(self.task.steps_per_epoch())
        trunk = self.study.trunk(plan, 0)
        continued = trunk if trunk.is_file() and training == self.settings.final else None
        return train_rung(point, plan, training, steps, trunk=continued, **options)


def _with_baseline(
    applied: Applied, trained: nn.Module, task: Task, record: BaselineRecord
) -> Applied:
    """The result with the float model's scores and bytes.

    Args:
        applied: without them.
        trained: the float model.
        task: scores it on the test split.
        record: of the float model.
    """
    return replace(
        applied,
        baseline_valid=record.score,
        baseline_test=score(trained, task, "test"),
        baseline_costs=replace(applied.baseline_costs, size_bytes=record.size_bytes),
    )


def _reload(path: Path, model: nn.Module, task: Task) -> nn.Module:
    """Load a packed file; a RunError where it does not compute what was trained, bit for bit.

    Args:
        path: of the packed file.
        model: the trained model.
        task: gives the float model and an example.
    """
    device = next(model.parameters()).device
    loaded = packed_file.load(path, build_float_model(task)).to(device)
    example = task.example()
    if not ExampleRun.of(model, example.inputs, example.keywords).equal(model, loaded):
        raise RunError(f"'{path}' must compute what was trained, got other outputs")
    return loaded


# --- the record ----------------------------------------------------------------------------------


def _read_result(folder: Path, plan: Plan, training: Training) -> Applied | None:
    """The result of an earlier call; None where there is none, or one of another plan or training.

    Args:
        folder: of the packed file and of ``result.json``.
        plan: of this call.
        training: of this call.
    """
    artifact, file = folder / "model.safetensors", folder / "result.json"
    try:
        packed_file.read(artifact)
    except UserError:
        return None
    if not file.is_file():
        return None
    try:
        content = read_json_file(file)
        if content.pop("training") != asdict(training):
            return None
        applied = records.from_json(Applied, {**content, "artifact": str(artifact)})
    except (ValueError, KeyError, TypeError, AttributeError):  # not as it was written
        return None
    return applied if applied.plan == plan else None


def _write_result(folder: Path, applied: Applied, training: Training) -> None:
    """Write ``result.json``.

    Args:
        folder: of the packed file.
        applied: what was made.
        training: how it was made.
    """
    content = records.to_json(applied)
    del content["artifact"]  # the file beside it
    content |= {"plan": content.pop("plan"), "training": asdict(training)}
    write_text(folder / "result.json", json.dumps(content, indent=2) + "\n")
