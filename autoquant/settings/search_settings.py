"""Search: all settings of a search."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from autoquant.plan import Bits
from autoquant.settings.base import Settings
from autoquant.settings.checks import (
    check_choices,
    check_types,
    checked_budgets,
    checked_device,
    checked_list,
    checked_loss,
    checked_weights,
    require,
)
from autoquant.settings.cluster import Cluster
from autoquant.settings.extension_names import KERNELS, SAMPLERS, TARGET_NAMES
from autoquant.settings.limits import Limits
from autoquant.settings.renamed import old_fields
from autoquant.settings.rounds_settings import Rounds
from autoquant.settings.scheme import Scheme
from autoquant.settings.space import Rules, Space, Widening, checked_rules
from autoquant.settings.training import AUTO, Training

MAX_THREADS = 1024
"""Threads of a process, at most."""


@old_fields("")
@dataclass(frozen=True)
class Search(Settings):
    """All settings of a search; its task is given separately.

    Fields that are not named take the values that the task prefers, where it has any, those of the
    sections one by one: ``Search(qat=Training(steps=50))`` keeps the task's ``qat.lr``. The values
    shown here are those without such a task. See ``autoquant.settings.settings_for``.

    Attributes:
        budget: Largest packed file: 0.15x (of the float tensors), 2.5MB, 1.5MiB or 4.5bpw. Several
            ones, as in [0.08x,0.12x], are searched together: the result has a plan for each, and
            plan.yaml is that of the largest.
        trials: Plans that are proposed, at most; a search stops earlier where nothing can be
            gained.
        target: Runtime that the plan is for: onnxruntime or c. Its bits alone are chosen, and the
            budget limits the file that export writes for it. None: the packed file. A target of
            your own: see autoquant.costs.target.
        loss: Instead of the best plan within the budget find the smallest one that loses no more
            than this against the float model: a share of its score, as in 1%, or a number in the
            metric's unit, as in 0.5. The budget is then the largest size that is considered. Empty:
            no such bound.
        score: The same with the score that the plan must reach.
        seed: Of every random source.
        device: auto, cpu, cuda, cuda:1, mps.
        workers: Processes that train at the same time. 1: all is trained in this process. A study
            may be continued with another number: at the same threads the result does not depend on
            it.
        threads: Threads of each process that trains; they belong to the study, for results differ
            in the last bits between numbers of threads. 0: decided when the study is made, 1 with
            several workers or a cluster, else as many as torch has.
        kernel: What computes quantized layers: native (C, on the CPU), torch (no compiler, any
            device), reference (slow, obvious), or auto, the fastest that suits. An engine of your
            own for recurrent layers: its import path (see autoquant.kernels.recurrent.registry).
        sampler: How plans are proposed. program: an integer program over the measured sensitivity,
            which the scores correct. Others of Optuna's, whose proposals are brought within the
            limits: tpe, gp (slower), nsga2 or random. A sampler of your own: its name or import
            path (see autoquant.samplers).
        fill: Raise the bits of proposals of other samplers than program that leave budget unused,
            so that plans compare at equal size.
        sensitivity: Number of training batches whose gradients tell how much the loss increases
            with few bits in each weight, layer input and hidden state; the first proposals follow
            from it. More batches make its error smaller. 0: bits are distributed evenly.
        references: Weight bits of the uniform plans that are trained on the short rung, unwidened,
            for comparison, with 8-bit activations where the space has them. The first one shows
            whether anything can be gained, and whether the training suits.
        tensorboard: Write losses, learning rates and probe scores of each training, and the score
            and size of each trial, into the study's folder tensorboard, with one TensorBoard run
            for each training; it needs pip install 'autoquant-torch[tensorboard]'.
        pretrained: Weights of the float model, instead of training it: a file of safetensors or of
            torch.save, another study; from Python also a module or a state_dict.
        baseline: How the float model is trained; see help(autoquant.Training).
        qat: The quantization-aware training of the short rung, which all plans have.
        final: That of the full rung, which the finalists have, and the plan that is applied.
        cluster: Where the trainings run; see help(autoquant.Cluster).
        rounds: How many plans go on to longer trainings; see help(autoquant.Rounds).
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

    budget: str | tuple[str, ...] = "0.15x"
    trials: int = 16
    target: str | None = None
    loss: str = ""
    score: float | None = None
    seed: int = 0
    device: str = "auto"
    workers: int = 1
    threads: int = 0
    kernel: str = "auto"
    sampler: str = "program"
    fill: bool = True
    sensitivity: int = 12
    references: tuple[Bits, ...] = (8, 4, 3, 2)
    tensorboard: bool = False
    pretrained: Any = field(default=None, compare=False)
    baseline: Training = Training(epochs=5.0, lr=3e-3, scores=4)
    qat: Training = Training(steps=100, lr=3e-4, schedule="constant")
    final: Training = Training(epochs=1.0, lr=3e-4, schedule="constant")
    cluster: Cluster = Cluster()
    rounds: Rounds = Rounds()
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
        object.__setattr__(self, "budget", checked_budgets(self.budget))
        object.__setattr__(self, "loss", checked_loss(self.loss))
        both = bool(self.loss) and self.score is not None
        require(not both, "loss or score must be left out", f"loss={self.loss} score={self.score}")
        require(self.trials >= 1, "trials must be at least 1", self.trials)
        requirement = "sensitivity must not be negative"
        require(self.sensitivity >= 0, requirement, self.sensitivity)
        require(self.seed >= 0, "seed must not be negative", self.seed)
        require(self.seed < 2**32, "seed must be below 2**32", self.seed)
        require(self.workers >= 1, "workers must be at least 1", self.workers)
        requirement = f"workers must be left out with cluster={self.cluster.engine}"
        alone = self.workers == 1 or not self.cluster.is_remote
        require(alone, f"{requirement}, whose size it is", self.workers)
        require(self.threads >= 0, "threads must not be negative", self.threads)
        require(self.threads <= MAX_THREADS, f"threads must be at most {MAX_THREADS}", self.threads)
        requirement = "baseline.distill must be 0: the float model has no teacher"
        require(self.baseline.distill == 0, requirement, self.baseline.distill)
        requirement = (
            "baseline.lr must be a number: there is nothing to compare the float model with"
        )
        require(self.baseline.lr != AUTO, requirement, self.baseline.lr)
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
        requirement = f"target must be one of {', '.join(TARGET_NAMES)}"
        require(self.target is None or self.target in TARGET_NAMES, requirement, self.target)
        requirement = f"sampler must be one of {', '.join(SAMPLERS)}, or an import path"
        require(SAMPLERS.allows(self.sampler), requirement, self.sampler)

    @property
    def budgets(self) -> tuple[str, ...]:
        """The budgets, in the order in which they were given."""
        return (self.budget,) if isinstance(self.budget, str) else self.budget
