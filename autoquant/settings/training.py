"""Training: the settings of one training run."""

from __future__ import annotations

import math
from dataclasses import dataclass

from autoquant.errors import UserError
from autoquant.settings.base import Settings
from autoquant.settings.checks import check_types, require

AUTO = "auto"
"""A learning rate that a search finds."""

TRAINING_VALUES = {
    "optimizer": ("adamw", "sgd"),
    "schedule": ("cosine", "steps", "constant"),
    "keep": ("last", "best"),
    "precision": ("float32", "bfloat16"),
    "autocast": ("none", "bfloat16", "float16"),
}
"""Fields of a Training that are one of several words."""


@dataclass(frozen=True)
class Training(Settings):
    """One training run: its length, its learning rates and when it is scored.

    As a section of ``Search``, fields that are not named take the task's values or those of the
    section's default, ``Search().qat`` for example; see ``autoquant.settings.settings_for``.

    Attributes:
        epochs: Passes over the training data; a fraction is fine. Ignored when ``steps`` is set.
        steps: Length in batches, instead of epochs. 0: nothing is trained; plans are calibrated
            only, and the float model stays as the task gives it.
        optimizer: adamw, or sgd (plain: no momentum; language models that Adam overfits take an lr
            near 20 with a clip_norm of 0.25).
        lr: Peak learning rate. Of the quantization-aware trainings of a search also auto: the
            largest one of a list at which 8 bits everywhere are level with the float model after
            the short rung.
        schedule: How the learning rate falls: cosine, to zero; steps: to a tenth of its peak
            after 40% of the run and to a hundredth after 80% (Bit-RNN); or constant: not until the
            last fifth of the run, there in a line to zero, so that a longer run equals a shorter
            one up to where that one cools down.
        scale_lr: Learning rate of the quantizers' scales (they are learned as logarithms).
        warmup: Share of the steps over which the learning rate rises from zero; with the schedule
            constant, where nothing at the start may depend on the length, a share of 1000 steps.
        weight_decay: Weight decay of weights, decoupled in adamw; never of biases or scales.
        clip_norm: Largest L2 norm of the gradient; larger ones are scaled down.
        scores: How many intermediate scores are taken on the probe split, evenly spaced.
        keep: Which weights the run ends with: the last ones, or the best of those that were scored
            on the probe split, the last ones included.
        distill: Share of the loss that follows the float model's predictions instead of the targets
            (knowledge distillation, Hinton et al. 2015); the float model itself never does.
        dropout: Share of the model's own dropout that this training keeps (of dropout modules, not
            of calls of F.dropout). A student with few steps learns much faster without: 0.
        precision: Of the products of gradients in quantized layers: float32, or bfloat16, which is
            faster on processors that have it.
        autocast: Run the model under torch.autocast while it trains: none, bfloat16, or float16 (on
            CUDA only, with scaled gradients). Scores are always taken without.
    """

    epochs: float = 1.0
    steps: int | None = None
    optimizer: str = "adamw"
    lr: float | str = 1e-3
    schedule: str = "cosine"
    scale_lr: float = 1e-3
    warmup: float = 0.02
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    scores: int = 0
    keep: str = "last"
    distill: float = 0.0
    dropout: float = 1.0
    precision: str = "float32"
    autocast: str = "none"

    def __post_init__(self) -> None:
        check_types(self)
        for name, allowed in TRAINING_VALUES.items():
            requirement = f"{name} must be {', '.join(allowed[:-1])} or {allowed[-1]}"
            require(getattr(self, name) in allowed, requirement, getattr(self, name))
        require(0 <= self.distill <= 1, "distill must be in [0, 1]", self.distill)
        require(0 <= self.dropout <= 1, "dropout must be in [0, 1]", self.dropout)
        require(0 < self.epochs < math.inf, "epochs must be above 0", self.epochs)
        require(self.steps is None or self.steps >= 0, "steps must not be negative", self.steps)
        if isinstance(self.lr, str):
            require(self.lr == AUTO, f"lr must be a number or {AUTO}", self.lr)
        else:
            require(0 < self.lr < math.inf, "lr must be above 0", self.lr)
        require(self.scale_lr >= 0, "scale_lr must not be negative", self.scale_lr)
        require(0 <= self.warmup < 1, "warmup must be in [0, 1)", self.warmup)
        require(self.weight_decay >= 0, "weight_decay must not be negative", self.weight_decay)
        require(self.clip_norm > 0, "clip_norm must be above 0", self.clip_norm)
        require(self.scores >= 0, "scores must not be negative", self.scores)

    @property
    def learning_rate(self) -> float:
        """The peak learning rate, where it is a number.

        Raises:
            UserError: it is "auto", which only a search replaces.
        """
        if isinstance(self.lr, str):
            raise UserError(f"lr must be a number for this training, got {self.lr}")
        return self.lr

    def length(self, steps_per_epoch: int) -> int:
        """Number of batches of this run: ``steps``, or at least 1 for the epochs.

        Args:
            steps_per_epoch: number of batches of one pass over the training data.
        """
        by_epochs = max(1, round(self.epochs * steps_per_epoch))
        return by_epochs if self.steps is None else self.steps
