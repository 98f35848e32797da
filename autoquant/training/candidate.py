"""Training one plan from the float baseline: for a trial, and for the plan that is applied."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torch import nn

from autoquant.graph.network import Network
from autoquant.graph.prepare import prepare
from autoquant.plan import Plan
from autoquant.settings import Search, Training
from autoquant.task import Task
from autoquant.training.baseline import float_model
from autoquant.training.loop import OnScore, Run, score, seed_everything, train
from autoquant.training.qat import build_candidate, recalibrate, scale_dropout


@dataclass(frozen=True)
class Base:
    """What every candidate starts from.

    Attributes:
        model: the prepared float model, on its device.
        network: its layers.
        trained: whether it is the trained baseline. One that is not is no teacher; weights that
            grow are drawn anew then, and step sizes are chosen anew as the weights learn.
    """

    task: Task
    model: nn.Module
    network: Network
    settings: Search
    trained: bool = True

    def started(self, start: str, seed: int) -> Base:
        """What a plan is trained from with this start (one of STARTS) and seed."""
        if start == "scratch":
            return self.from_scratch(seed)
        return replace(self, settings=replace(self.settings, seed=seed))

    def from_scratch(self, seed: int) -> Base:
        """The same with the first weights that the float model has under this seed."""
        device = next(self.model.parameters()).device
        seed_everything(seed)
        model = prepare(float_model(self.task).to(device))
        settings = replace(self.settings, seed=seed)
        return replace(self, model=model, settings=settings, trained=False)


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
) -> Candidate:
    """Widen, quantize, calibrate, train and score a plan.

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
        untrained=not base.trained,
    )
    scale_dropout(model, training.dropout)
    run = train(
        model,
        base.task,
        training,
        seed=settings.seed,
        teacher=base.model if base.trained else None,
        label=label,
        on_score=on_score,
        checkpoint=checkpoint,
        progress=progress,
        recalibrate=None if base.trained else partial(recalibrate, model, base.task, settings.seed),
    )
    return Candidate(model, score(model, base.task, "valid"), run)
