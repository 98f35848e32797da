"""Training one plan: for a trial, for a sweep's run, and for the plan that is applied."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from torch import nn

from autoquant.errors import MAX_SHOWN, Diverged, RunError, WriteError, first_line, shortened
from autoquant.graph.network import Network
from autoquant.graph.prepare import prepare
from autoquant.plan import Plan
from autoquant.progress import SILENT, Progress
from autoquant.seeds import seed_everything
from autoquant.settings import Search, Training
from autoquant.task import Task
from autoquant.training.activations import scale_dropout
from autoquant.training.callbacks import OnStep, is_from_callback
from autoquant.training.checkpoint import TrainingRun, Trunk
from autoquant.training.device import is_out_of_memory
from autoquant.training.float_model import build_float_model
from autoquant.training.loop import OnScore, train
from autoquant.training.qat import build_candidate, recalibrate
from autoquant.training.scoring import score


@dataclass(frozen=True)
class StartingPoint:
    """The float model that every candidate starts from, and the settings that they share.

    Attributes:
        task: gives batches, loss and score.
        model: the prepared float model, on its device.
        network: its layers, before widening.
        settings: give the quantizer, the widening method and the seed.
        trained: whether the model is the trained baseline. A model that is not trained is no
            teacher; grown weights are reinitialized, and scales are recalibrated during training.
    """

    task: Task
    model: nn.Module
    network: Network
    settings: Search
    trained: bool = True

    def initialized(self, init_from: str, seed: int) -> StartingPoint:
        """The same starting point with the weights and the seed that a plan is trained with.

        Args:
            init_from: "baseline" for the weights of the float model as it is, "scratch" for new
                weights.
            seed: of new weights, grown weights, batches and dropout.
        """
        if init_from == "scratch":
            return self.from_scratch(seed)
        return replace(self, settings=self.settings.changed(seed=seed))

    def from_scratch(self, seed: int) -> StartingPoint:
        """The same with the first weights that the float model has under a seed.

        Args:
            seed: of the weights, and of what is drawn later.
        """
        device = next(self.model.parameters()).device
        seed_everything(seed)
        model = prepare(build_float_model(self.task).to(device))
        settings = self.settings.changed(seed=seed)
        return replace(self, model=model, settings=settings, trained=False)


@dataclass(frozen=True)
class Candidate:
    """A trained plan.

    Attributes:
        model: the fake-quantized model.
        score: its score on the valid split.
        run: steps, seconds and intermediate scores of its training.
    """

    model: nn.Module
    score: float
    run: TrainingRun


@dataclass(frozen=True)
class Failure:
    """Why the training of a plan ended early, where other plans may do better.

    Attributes:
        state: "diverged", or "failed" for all other reasons.
        reason: in words.
    """

    state: Literal["diverged", "failed"]
    reason: str


def failure_of(error: Exception) -> Failure | None:
    """An error of a training as the failure of its plan; None where it is not the plan's.

    Args:
        error: that ``train_candidate`` raised: a loss that is not finite, too little memory, a
            widened model that computes something else. All other errors, those of the user's code
            among them, would end any training.
    """
    if is_from_callback(error):
        return None
    if isinstance(error, Diverged):
        return Failure("diverged", str(error))
    if is_out_of_memory(error):
        return Failure("failed", f"not enough memory: {shortened(first_line(error), MAX_SHOWN)}")
    if isinstance(error, RunError) and not isinstance(error, WriteError):
        return Failure("failed", first_line(error))
    return None


def train_candidate(
    starting_point: StartingPoint,
    plan: Plan,
    training: Training,
    *,
    label: str,
    on_score: OnScore | None = None,
    on_step: OnStep | None = None,
    checkpoint: Path | None = None,
    trunk: Trunk | None = None,
    progress: Progress = SILENT,
) -> Candidate:
    """Widen, quantize, calibrate, train and score a plan.

    Args:
        starting_point: the float model, which stays as it is, and the settings.
        plan: bits and widths of every layer.
        training: length, learning rates, distillation and dropout.
        label: name beside the progress bar, and of the run for ``on_step``.
        on_score: called with (step, probe score) after each intermediate score; what it raises
            ends the run.
        on_step: called after each training step; what it raises ends the run.
        checkpoint: file to resume from and to save to; None: nothing is saved.
        trunk: the part of the training that a longer one shares, see ``train``.
        progress: shows how far the training is.

    Raises:
        UserError: the plan does not fit the network.
        Diverged: the loss or a score is not finite.
    """
    task, settings = starting_point.task, starting_point.settings
    model = build_candidate(
        starting_point.model,
        starting_point.network,
        plan,
        settings.quantizer,
        task,
        method=settings.widening.method,
        seed=settings.seed,
        untrained=not starting_point.trained,
    )
    scale_dropout(model, training.dropout)
    run = train(
        model,
        task,
        training,
        seed=settings.seed,
        teacher=starting_point.model if starting_point.trained else None,
        label=label,
        on_score=on_score,
        on_step=on_step,
        checkpoint=checkpoint,
        trunk=trunk,
        progress=progress,
        recalibrate=None
        if starting_point.trained
        else partial(recalibrate, model, task, settings.seed),
    )
    with progress.bar(f"{label}: scoring on the valid split"):
        valid = score(model, task, "valid")
    return Candidate(model, valid, run)
