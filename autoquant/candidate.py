"""Training one plan from the float baseline: for a trial, and for the plan that is applied."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import nn

from autoquant.network import Network
from autoquant.plan import Plan
from autoquant.qat import build_candidate, recalibrate, scale_dropout
from autoquant.settings import Search, Training
from autoquant.task import Task
from autoquant.training import OnScore, Run, score, train


@dataclass(frozen=True)
class Base:
    """What every candidate starts from.

    Attributes:
        model: the prepared float baseline, trained, on its device.
        network: its layers.
    """

    task: Task
    model: nn.Module
    network: Network
    settings: Search


@dataclass(frozen=True)
class Candidate:
    """A trained plan: the fake-quantized model, its score on the valid split, its run."""

    model: nn.Module
    score: float
    run: Run


def train_candidate(
    base: Base,
    plan: Plan,
    training: Training,
    *,
    label: str,
    on_score: OnScore | None = None,
    checkpoint: Path | None = None,
    progress: bool = True,
    untrained: bool = False,
) -> Candidate:
    """Widen, quantize, calibrate, train and score a plan.

    Args:
        untrained: whether the base's model has never been trained; it is no teacher then,
            grown weights are drawn anew, and step sizes are chosen anew as the weights learn.

    Raises:
        UserError: the plan does not fit the network.
        Diverged: the loss or a score is not finite.
    """
    settings = base.settings
    model = build_candidate(
        base.model,
        base.network,
        plan,
        settings.quantizer,
        base.task,
        method=settings.widening.method,
        seed=settings.seed,
        untrained=untrained,
    )
    scale_dropout(model, training.dropout)
    run = train(
        model,
        base.task,
        training,
        seed=settings.seed,
        teacher=None if untrained else base.model,
        label=label,
        on_score=on_score,
        checkpoint=checkpoint,
        progress=progress,
        settle=partial(recalibrate, model, base.task, settings.seed) if untrained else None,
    )
    return Candidate(model, score(model, base.task, "valid"), run)
