"""Measuring the loss increase of few bits in each weight, input and hidden state, untrained.

About 30 forward and backward passes of one batch each, for any number of layers: gradients in a
network that is quantized near the budget estimate every choice of every dimension; then forward
passes measure the choices that matter most, which corrects the estimates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from autoquant.analysis.loss_estimates import Estimate, Measurement, corrected, most_useful
from autoquant.analysis.probed_model import ProbedModel, build_probed_model
from autoquant.analysis.quantizer_probe import QuantizerProbe
from autoquant.analysis.sensitivity import Sensitivity
from autoquant.backend import Compute, computing, current
from autoquant.files import write_text
from autoquant.plan import Plan
from autoquant.progress import SILENT, Bar, Progress
from autoquant.seeds import seed_everything
from autoquant.settings import Training
from autoquant.space.search_space import SearchSpace
from autoquant.training.candidate import StartingPoint
from autoquant.training.eval_losses import eval_losses
from autoquant.training.objective import Objective, build_objective

HIDDEN_PASSES = 4
"""Gradient passes that show hidden states, one time step after the other, which is slow."""
FORWARD_PASSES = 46
"""Forward passes that measure: with 12 gradient passes (each as long as three) and 8 passes of
calibration the time of 30 gradient passes."""
BATCHES_PER_MEASUREMENT = 2


def load_or_measure_sensitivity(
    starting_point: StartingPoint,
    space: SearchSpace,
    training: Training,
    path: Path,
    reference: Plan,
    *,
    progress: Progress = SILENT,
) -> Sensitivity:
    """The sensitivity that a file holds, or a new one, written into it.

    A file of an earlier version, which lacks activations, is measured again.

    Args:
        starting_point: the trained float model, and the settings.
        space: whose dimensions are measured.
        training: whose loss is measured.
        path: of the file.
        reference: the plan of the network in which it is measured.
        progress: shows how far the measurement is.
    """
    if path.is_file():
        sensitivity = Sensitivity.read(path)
        names = {dimension.name for dimension in space.dimensions if dimension.is_bits}
        if names <= sensitivity.loss_increases.keys():
            return sensitivity
    sensitivity = measure_sensitivity(starting_point, space, training, reference, progress=progress)
    write_text(path, sensitivity.to_json())
    return sensitivity


def measure_sensitivity(
    starting_point: StartingPoint,
    space: SearchSpace,
    training: Training,
    reference: Plan,
    *,
    progress: Progress = SILENT,
) -> Sensitivity:
    """Estimate from gradients what each choice of bits costs, and measure the most important ones.

    Gradients come from ``settings.sensitivity`` batches (see ``QuantizerProbe``).

    Args:
        starting_point: the trained float model, which stays as it is, and the settings: number of
            batches, seed and quantizer.
        space: all its dimensions of bits are measured.
        training: whose loss is measured, distillation included.
        reference: a plan near the budget: all other dimensions have its bits while one is measured.
        progress: shows how far the measurement is.
    """
    task, settings = starting_point.task, starting_point.settings
    batches = list(islice(task.batches(settings.seed), settings.sensitivity))
    total = len(batches) + FORWARD_PASSES
    with progress.bar("sensitivity", total, "pass") as bar:
        probed = build_probed_model(starting_point, space, reference)
        objective = build_objective(task, training, starting_point.model)
        passes = _Passes(probed.model, objective, settings.seed, bar)
        runs = _gradient_passes(passes, probed, batches)
        estimates = [_estimate(probe, len(runs)) for probe in probed.probes]
        measurements = _measure(passes, probed, estimates, runs)
    increases, deviations = {}, {}
    found = zip(probed.probes, corrected(estimates, measurements), strict=True)
    for probe, estimate in found:
        name, choices = probe.dimension.name, probe.dimension.choices
        increases[name] = {choice: estimate.values[choice] for choice in choices}
        deviations[name] = {choice: estimate.errors[choice] for choice in choices}
    return Sensitivity(increases, deviations, reference)


@dataclass(frozen=True)
class _Run:
    """A batch, and what was found with the quantizers of the reference.

    Attributes:
        batch: of the task.
        carry: from the batch before.
        loss: mean over the batch.
    """

    batch: Any
    carry: Any
    loss: float


@dataclass(frozen=True)
class _Passes:
    """Runs the model.

    Attributes:
        model: quantized; in eval mode.
        objective: gives the loss.
        seed: of what the objective draws; the same in every pass.
        bar: counts the passes.
    """

    model: nn.Module
    objective: Objective
    seed: int
    bar: Bar

    def run(self, batch: Any, carry: Any) -> tuple[Tensor, Any]:
        """The loss of a batch, in eval mode (see ``eval_losses``), and the carry after it.

        Args:
            batch: of the task.
            carry: from the batch before.
        """
        carries = [carry]

        def loss_of(model: nn.Module, batch: Any, _: Any) -> tuple[Tensor, Any]:
            loss, after = self.objective(model, batch, carry)
            carries.append(after)
            return loss, after

        seed_everything(self.seed)
        self.bar.advance()
        with parametrize.cached():
            return next(eval_losses(self.model, loss_of, [batch])), carries[-1]


def _gradient_passes(passes: _Passes, probed: ProbedModel, batches: Sequence[Any]) -> list[_Run]:
    """Run batches forward and backward with the quantizers of the reference.

    Hidden states are only shown by the reference kernel, which loops over time.

    Args:
        passes: run the model.
        probed: the model and its probes.
        batches: in their order; the carry goes from one to the next.
    """
    runs: list[_Run] = []
    carry: Any = None
    for number, batch in enumerate(batches):
        looped = number < HIDDEN_PASSES and any(probe.is_hidden for probe in probed.probes)
        watched = [probe for probe in probed.probes if looped or not probe.is_hidden]
        ends = [end for probe in watched for end in probe.watch()]
        before = carry
        with computing(Compute("reference") if looped else current()):
            loss, carry = passes.run(batch, carry)
            is_finite = bool(loss.detach().isfinite())
            if is_finite and loss.requires_grad:
                loss.backward()  # type: ignore[no-untyped-call]
        for end in ends:
            end()
        for probe in watched:
            probe.end_pass()
        if is_finite:
            runs.append(_Run(batch, before, float(loss.detach())))
    return runs


def _estimate(probe: QuantizerProbe, passes: int) -> Estimate:
    """What the gradient passes say of a dimension.

    Args:
        probe: after the passes.
        passes: their number.
    """
    reference = probe.choices.index(probe.reference)
    count = len(probe.batches)
    if not count:
        return Estimate(probe.choices, reference, (), (), passes)
    batches = torch.stack(probe.batches).double().nan_to_num(nan=torch.inf)  # [passes, choices]
    means = batches.mean(0)
    errors = batches.std(0) / count**0.5 if count > 1 else means
    systematic = probe.of_mean_gradient()
    if systematic is not None and count > 1:
        centred = (means - systematic) * count / (count - 1)
        means = torch.maximum(centred, means / count)  # batches may all be the same
    means = means.flip(0).cummax(0).values.flip(0)
    return Estimate(probe.choices, reference, tuple(means.tolist()), tuple(errors.tolist()), passes)


@torch.no_grad()
def _measure(
    passes: _Passes, probed: ProbedModel, estimates: Sequence[Estimate], runs: Sequence[_Run]
) -> list[Measurement]:
    """Measure the choices that matter most, each in forward passes over a few batches.

    Args:
        passes: run the model.
        probed: the model and its probes.
        estimates: of each probe.
        runs: the gradient passes.
    """
    batches = min(BATCHES_PER_MEASUREMENT, len(runs))
    if not batches:
        return []
    measurements = []
    for number, choice in most_useful(estimates, FORWARD_PASSES // batches):
        probe = probed.probes[number]
        probe.put(probe.choices[choice])
        chosen = [runs[-1 - (number + i) % len(runs)] for i in range(batches)]
        changes = [float(passes.run(run.batch, run.carry)[0]) - run.loss for run in chosen]
        probe.put(probe.reference)
        measurements.append(Measurement(number, choice, sum(changes) / batches, batches))
    return measurements
