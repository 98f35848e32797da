"""Search: all settings of a search."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from autoquant.plan import Bits
from autoquant.settings.base import Settings
from autoquant.settings.checks import (
    check_choices,
    check_types,
    checked_budget,
    checked_device,
    checked_list,
    checked_weights,
    require,
)
from autoquant.settings.extension_names import KERNELS, SAMPLERS
from autoquant.settings.limits import Limits
from autoquant.settings.scheme import Scheme
from autoquant.settings.space import Rules, Space, Widening, checked_rules
from autoquant.settings.training import Training


@dataclass(frozen=True)
class Search(Settings):
    """All settings of a search; its task is given separately.

    Fields that are not named take the values that the task prefers, where it has any, those of the
    sections one by one: ``Search(qat=Training(steps=50))`` keeps the task's ``qat.lr``. The values
    shown here are those without such a task. See ``autoquant.settings.settings_for``.

    Attributes:
        budget: Largest packed file: 0.15x (of the float tensors), 2.5MB, 1.5MiB or 4.5bpw.
        trials: Proposals that are trained to an end: finished, pruned, diverged or failed.
        seed: Of every random source.
        device: auto, cpu, cuda, cuda:1, mps.
        kernel: What computes quantized layers: native (C, on the CPU), torch (no compiler, any
            device), reference (slow, obvious), or auto, the fastest that suits. An engine of your
            own for recurrent layers: its import path (see autoquant.kernels.recurrent.registry).
        sampler: Optuna's sampler: tpe is quick, gp better and slower (seconds a proposal),
            or random. A sampler of your own: its name or import path (see
            autoquant.samplers).
        fill: Raise the bits of proposals that leave budget unused, so that plans compare at equal
            size.
        sensitivity: Number of training batches used to measure each layer's sensitivity to few
            weight bits; the first proposals follow from it. 0: they distribute bits evenly.
        prune: Stop a trial whose intermediate score is worse than three quarters of the earlier
            ones.
        references: Weight bits of the uniform plans that are trained, unwidened, for comparison;
            their activations have the widest bits of the space.
        tensorboard: Write losses, learning rates and probe scores of each training, and the score
            and size of each trial, into the study's folder tensorboard, with one TensorBoard run
            for each training; it needs pip install 'autoquant[tensorboard]'.
        pretrained: Weights of the float model, instead of training it: a file of safetensors or of
            torch.save, another study; from Python also a module or a state_dict.
        baseline: How the float model is trained; see help(autoquant.Training).
        qat: The short quantization-aware training that scores a candidate.
        final: The full quantization-aware training of the plan that is applied.
        quantizer: How numbers become codes; see help(autoquant.Scheme).
        limits: Largest costs beside the size; see help(autoquant.Limits).
        widening: Which layers may grow, and how; see help(autoquant.Widening).
        space: The choices for each layer; see help(autoquant.Space).
        rules: Other choices for some layers, by shell-style patterns of their names, as in
            {decoder: {weight_bits: [4,8], width: 1.0}, rnn.*: {activation_bits: 8}}. A key
            (weight_bits, activation_bits, recurrent_bits, hidden_bits, width) takes the last rule
            that matches and names it; recurrent_bits and hidden_bits follow weight_bits and
            activation_bits unless named. A width lets a layer grow that the profile's rule would
            not pick, or, as 1.0, keeps it.
    """

    budget: str = "0.15x"
    trials: int = 16
    seed: int = 0
    device: str = "auto"
    kernel: str = "auto"
    sampler: str = "tpe"
    fill: bool = True
    sensitivity: int = 4
    prune: bool = True
    references: tuple[Bits, ...] = (8, 4, 3, 2)
    tensorboard: bool = False
    pretrained: Any = field(default=None, compare=False)
    baseline: Training = Training(epochs=5.0, lr=3e-3, scores=4)
    qat: Training = Training(steps=100, lr=3e-4, scores=2)
    final: Training = Training(epochs=1.0, lr=3e-4)
    quantizer: Scheme = Scheme()
    limits: Limits = Limits()
    widening: Widening = Widening()
    space: Space = Space()
    rules: Rules = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        scheme = {"lsq": "aq.Scheme()", "bit_rnn": "aq.Scheme.bit_rnn()"}.get(str(self.quantizer))
        requirement = "quantizer must be an autoquant.Scheme"
        require(scheme is None, requirement, self.quantizer, f"quantizer={scheme}")
        check_types(self)
        budget = checked_budget("budget", self.budget, "budget=")
        object.__setattr__(self, "budget", budget)
        require(self.trials >= 1, "trials must be at least 1", self.trials)
        requirement = "sensitivity must not be negative"
        require(self.sensitivity >= 0, requirement, self.sensitivity)
        require(self.seed >= 0, "seed must not be negative", self.seed)
        require(self.seed < 2**32, "seed must be below 2**32", self.seed)
        requirement = "baseline.distill must be 0: the float model has no teacher"
        require(self.baseline.distill == 0, requirement, self.baseline.distill)
        requirement = (
            "baseline.dropout must be 1: the float model trains with the dropout that it has"
        )
        require(self.baseline.dropout == 1, requirement, self.baseline.dropout)
        object.__setattr__(self, "references", checked_list("references", self.references))
        object.__setattr__(self, "device", checked_device(self.device))
        object.__setattr__(self, "pretrained", checked_weights(self.pretrained))
        check_choices("references", "weight_bits", self.references)
        object.__setattr__(self, "rules", checked_rules(self.rules))
        requirement = f"kernel must be one of {', '.join(KERNELS)}, or an import path"
        require(KERNELS.allows(self.kernel), requirement, self.kernel)
        requirement = f"sampler must be one of {', '.join(SAMPLERS)}, or an import path"
        require(SAMPLERS.allows(self.sampler), requirement, self.sampler)
