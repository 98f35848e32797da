"""FullTraining: trains a plan in full and packs it into a file of the promised size."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from autoquant.applying.applied import Applied
from autoquant.artifact import packed_file
from autoquant.artifact.manifest import breakdown
from autoquant.backend import Compute, computing
from autoquant.costs.plan_costs import costs_of, float_costs
from autoquant.costs.target import size_in_target
from autoquant.errors import RunError
from autoquant.files import write_text, writing
from autoquant.graph.equivalence import ExampleRun
from autoquant.graph.network import Network
from autoquant.graph.prepare import prepare
from autoquant.plan import Plan
from autoquant.progress import Progress
from autoquant.settings import Search, Training
from autoquant.study.baseline_record import BaselineRecord
from autoquant.study.chosen_plan import ChosenPlan
from autoquant.study.folder import Study
from autoquant.task import Task
from autoquant.training.baseline import load_or_train_baseline
from autoquant.training.callbacks import OnStep, in_turn
from autoquant.training.candidate import Candidate, StartingPoint, train_candidate
from autoquant.training.device import check_autocast, resolve_device
from autoquant.training.float_model import build_float_model, check_new_weights
from autoquant.training.rungs import train_rung
from autoquant.training.scoring import score
from autoquant.training.tensorboard_log import check_tensorboard, open_log
from autoquant.training.threads import threads_set

LABEL = "apply"
"""Name of the training in a StepResult."""


@dataclass(frozen=True)
class FullTraining:
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
        path, checkpoint = self.folder / "model.safetensors", checkpoint_file(self.folder, plan)
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
        if continued is not None:
            self.progress.say("the search's training of this plan goes on: its end is left")
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


def checkpoint_file(folder: Path, plan: Plan) -> Path:
    """The checkpoint of a full training.

    Args:
        folder: of the packed file.
        plan: that is trained.
    """
    return folder / f".{plan.digest}.checkpoint"
