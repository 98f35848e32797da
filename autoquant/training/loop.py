"""One training run: float or quantized, resumable, stopped when it diverges."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from autoquant.backend import computing, current, flushed_denormals
from autoquant.errors import Diverged
from autoquant.progress import SILENT, Bar, Progress
from autoquant.seeds import seed_everything
from autoquant.settings import Training
from autoquant.task import Task
from autoquant.training.callbacks import OnStep, StepResult, notify
from autoquant.training.checkpoint import Checkpoint, TrainingRun, Trunk
from autoquant.training.device import check_autocast
from autoquant.training.objective import build_objective
from autoquant.training.optimizer import TrainingStep, build_optimizer
from autoquant.training.schedule import (
    cool_down_start,
    learning_rate_factor,
    recalibration_steps,
    score_steps,
)
from autoquant.training.scoring import BestWeights, score

FINITE_CHECK_STEPS = 20
"""Training steps between two checks that the loss is finite; each waits for the device."""

OnScore = Callable[[int, float], None]
"""Called with (step, score on the probe split); may raise to end the run."""


def train(
    model: nn.Module,
    task: Task,
    settings: Training,
    *,
    seed: int,
    teacher: nn.Module | None = None,
    label: str = "train",
    on_score: OnScore | None = None,
    on_step: OnStep | None = None,
    checkpoint: Path | None = None,
    trunk: Trunk | None = None,
    progress: Progress = SILENT,
    recalibrate: Callable[[], None] | None = None,
) -> TrainingRun:
    """Train ``model`` in place and return what was done: nothing in 0 steps, or of frozen weights.

    Args:
        model: a float or a fake-quantized model, on the device that it is trained on.
        task: gives batches, loss and score.
        settings: length, learning rates, schedule, number of intermediate scores.
        seed: of batches and dropout.
        teacher: the float model that ``settings.distill`` follows.
        label: name beside the progress bar, and of the run for ``on_step``.
        on_score: called with (step, probe score) after each intermediate score; what it raises
            ends the run.
        on_step: called after each step, before ``on_score``; what it raises ends the run.
        checkpoint: file to resume from and to save to every 20 seconds; the caller deletes it.
        trunk: the part of the run that a longer one shares; only with the schedule "constant". A
            checkpoint that has steps has precedence.
        progress: shows how far the training is.
        recalibrate: called between steps, after those of ``recalibration_steps``.

    Raises:
        Diverged: the loss or a score is not finite.
        UserError: the device, or the task, cannot do what the settings ask for.
    """
    if settings.steps == 0:
        return TrainingRun()
    if not any(parameter.requires_grad for parameter in model.parameters()):
        progress.say(f"{label}: every parameter is frozen, so nothing is trained")
        return TrainingRun()
    loop = _Loop(model, task, settings, seed, teacher)
    loop.restore(checkpoint, trunk)
    model.train()
    done = loop.run.steps
    with progress.bar(label, loop.total, "step", done=done) as bar, _computing(settings):
        report = None if on_step is None else partial(_report_step, on_step, label, loop)
        loop.run_steps(bar, on_score, report, recalibrate)
    loop.finish()
    return loop.run


class _Loop:
    """A training run in progress: its parts, and what happens after each step.

    Args:
        model: is trained in place.
        task: gives batches, loss and score.
        settings: of the training.
        seed: of batches and dropout.
        teacher: for distillation, or None.

    Attributes:
        run: what has been done so far.
        total: steps of the whole run.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        settings: Training,
        seed: int,
        teacher: nn.Module | None,
    ) -> None:
        self._model, self._task, self._settings, self._seed = model, task, settings, seed
        self.total = total = settings.length(task.steps_per_epoch())
        device = next(model.parameters()).device
        check_autocast(settings, device)
        optimizer = build_optimizer(model, settings)
        objective = build_objective(task, settings, teacher)
        self._step = TrainingStep(model, objective, optimizer, settings, device)
        warmup, fall = settings.warmup, settings.schedule

        def factor(step: int) -> float:  # no method: a checkpoint would hold its attributes
            return learning_rate_factor(step, total, warmup, fall)

        self._optimizer, self._peak, self._factor = optimizer, settings.learning_rate, factor
        self._scheduler = LambdaLR(optimizer, factor)
        self._best = BestWeights(task.direction) if settings.keep == "best" else None
        self._score_steps = score_steps(total, settings.scores)
        self._recalibration_steps = recalibration_steps(total, settings.schedule)
        self._device = device
        self.run, self._carry = TrainingRun(), None

    def restore(self, checkpoint: Path | None, trunk: Trunk | None) -> None:
        """Seed the random sources, and continue what is saved.

        Args:
            checkpoint: file to resume from and to save to, or None.
            trunk: of the run, or None.
        """
        seed_everything(self._seed)
        parts = {"model": self._model, "optimizer": self._optimizer} | self._stateful_parts()
        identity = (self._settings, self._seed, self.total)
        self._checkpoint = Checkpoint(checkpoint, identity, parts, self._device)
        self.run, self._carry = self._checkpoint.restore()
        self._trunk: Checkpoint | None = None
        if trunk is not None:
            start = cool_down_start(self.total)
            self._trunk = Checkpoint(trunk.path, trunk.identity, parts, self._device)
            if self.run.steps == 0:
                self.run, self._carry = self._trunk.restore(start)
                self._set_learning_rates()
        self._started = time.monotonic() - self.run.seconds

    def _set_learning_rates(self) -> None:
        """Those of this run's schedule: the trunk was saved where a shorter run cooled down."""
        factor = self._factor(self.run.steps)
        for group, peak in zip(self._optimizer.param_groups, self._scheduler.base_lrs, strict=True):
            group["lr"] = peak * factor

    def learning_rate(self) -> float:
        """That of the weights in the last step."""
        return self._peak * self._factor(self.run.steps - 1)

    def _stateful_parts(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the model and the optimizer."""
        parts: dict[str, Any] = {"schedule": self._scheduler}
        if self._step.scaler.is_enabled():
            parts["scaler"] = self._step.scaler
        if self._best is not None:
            parts["keeper"] = self._best  # the key of checkpoints of earlier versions
        return parts

    def run_steps(
        self,
        bar: Bar,
        on_score: OnScore | None,
        report: Callable[[Tensor, float | None], None] | None,
        recalibrate: Callable[[], None] | None,
    ) -> None:
        """Train from where the run is to its last step.

        Args:
            bar: is advanced.
            on_score: called after each intermediate score, or None.
            report: called after each step with its loss and, where there is one, its score; or
                None.
            recalibrate: called at the steps of ``recalibration_steps``, or None.
        """
        run = self.run
        batches = self._task.batches(self._seed, start=run.steps)
        for batch in islice(batches, self.total - run.steps):
            loss, self._carry = self._step(batch, self._carry)
            self._scheduler.step()
            run.steps += 1
            if recalibrate is not None and run.steps in self._recalibration_steps:
                recalibrate()
            run.seconds = time.monotonic() - self._started
            bar.advance()
            if run.steps % FINITE_CHECK_STEPS == 0 or run.steps == self.total:
                _check_finite(loss, run.steps)
                bar.note = f"loss {float(loss):.3f}{self._scored()}"
            value = self._score() if run.steps in self._score_steps else None
            self._checkpoint.save_if_due(run, self._carry)  # first: a step is reported once
            if self._trunk is not None and run.steps == cool_down_start(self.total):
                self._trunk.save(run, self._carry)
            if report is not None:
                report(loss, value)
            if on_score is not None and value is not None:
                on_score(run.steps, value)

    def _scored(self) -> str:
        """The last intermediate score, for people; empty before the first."""
        scores = self.run.scores
        return f", {self._task.metric} {scores[-1][1]:.5g} (probe)" if scores else ""

    def _score(self) -> float:
        """Take an intermediate score."""
        value = score(self._model, self._task, "probe")
        self.run.scores.append((self.run.steps, value))
        if self._best is not None:
            self._best.offer(value, self._model)
        return value

    def finish(self) -> None:
        """Take the best weights, where these are asked for, and save the end of the run."""
        if self._best is not None:
            self._best.offer(score(self._model, self._task, "probe"), self._model)
            self._best.restore(self._model)
        self._checkpoint.save(self.run, self._carry)


def _report_step(
    on_step: OnStep, label: str, loop: _Loop, loss: Tensor, value: float | None
) -> None:
    """Tell the user's function what the last step gave.

    Args:
        on_step: of the user.
        label: name of the run.
        loop: has done the step.
        loss: of the step.
        value: score on the probe split, if one was taken.
    """
    number, lr = loop.run.steps, loop.learning_rate()
    notify(on_step, StepResult(label, number, loop.total, loss.reshape(()), lr, value))


@contextmanager
def _computing(settings: Training) -> Iterator[None]:
    """Train with the kernels that are asked for, at the precision of the settings."""
    with flushed_denormals(), computing(replace(current(), precision=settings.precision)):
        yield


def _check_finite(loss: Tensor, step: int) -> None:
    if not torch.isfinite(loss):
        raise Diverged(f"the training loss must be finite, got {float(loss)} at step {step}")
