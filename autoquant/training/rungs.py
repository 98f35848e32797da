"""Rungs: one plan trained for longer and longer, with a score at each length and no step twice.

The learning rate is constant, so that the longer training begins as the shorter one; a short
cool-down before each score shows what the weights are worth (Hägele et al. 2024, section 3).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from autoquant.plan import Plan
from autoquant.progress import SILENT, Progress
from autoquant.settings import Training
from autoquant.tasks.data.random_sources import mixed_seed
from autoquant.training.callbacks import OnStep
from autoquant.training.candidate import Candidate, StartingPoint, train_candidate
from autoquant.training.checkpoint import Trunk


def train_rung(
    starting_point: StartingPoint,
    plan: Plan,
    training: Training,
    steps: int,
    *,
    order: int = 0,
    trunk: Path | None = None,
    checkpoint: Path | None = None,
    label: str = "rung",
    on_step: OnStep | None = None,
    progress: Progress = SILENT,
) -> Candidate:
    """Train a plan for a number of steps in all, cool-down included, and score it.

    Args:
        starting_point: the float model, which stays as it is, and the settings.
        plan: bits and widths of every layer.
        training: learning rates, warm-up, distillation and dropout; its length, schedule and
            intermediate scores are not used.
        steps: of the training from its beginning.
        order: number of the data order: of batches, dropout and grown weights. 0 is that of the
            settings' seed.
        trunk: file of the steps before the cool-down. Where it holds those of a shorter rung of the
            same plan, training and order, the training continues from there, bit for bit; then it
            holds those of this rung. It may hold those of a longer rung: this one then starts
            again, and takes its place. None: nothing is read or kept.
        checkpoint: file to resume from and to save to every 20 seconds; None: an interrupted rung
            starts again from the trunk.
        label: name beside the progress bar, and of the run for ``on_step``.
        on_step: called after each training step; what it raises ends the run.
        progress: shows how far the training is.

    Returns:
        the cooled-down model, its score on the valid split, and its training from the beginning.

    Raises:
        UserError: the plan does not fit the network.
        Diverged: the loss or the score is not finite.
    """
    settings = starting_point.settings
    seed = settings.seed if order == 0 else mixed_seed(settings.seed, order)
    rung = training.changed(steps=steps, schedule="constant", scores=0, keep="last")
    identity = (rung.changed(steps=None, epochs=1.0), seed, plan)
    return train_candidate(
        replace(starting_point, settings=settings.changed(seed=seed)),
        plan,
        rung,
        label=label,
        on_step=on_step,
        checkpoint=checkpoint,
        trunk=None if trunk is None else Trunk(trunk, identity),
        progress=progress,
    )
