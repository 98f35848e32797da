"""Settings: what a user may turn, as plain dataclasses, with units and defaults.

The command line builds these from YAML; Python users build them by hand. Nothing here imports
torch, so that ``--help`` answers at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from numbers import Integral, Real
from typing import Any, TypeVar

from autoquant.errors import UserError, shown
from autoquant.plan import Bits, LayerChoice
from autoquant.plugins import ExtensionNames

T = TypeVar("T")
Rules = dict[str, dict[str, tuple[float, ...]]]
"""Choices of layers by a pattern of their names and a field of LayerChoice; the last match wins."""


def require(condition: bool, requirement: str, came: object) -> None:
    """Raise a UserError that says what must hold, then what came.

    Args:
        condition: what must be true.
        requirement: the condition in words, as in "lr must be above 0".
        came: the value that was given.

    Raises:
        UserError: the condition is false.
    """
    if not condition:
        raise UserError(f"{requirement}, got {shown(came)}")


_NUMBERS: dict[str, tuple[str, tuple[type, ...]]] = {
    "int": ("a whole number", (Integral,)),
    "int | None": ("a whole number", (Integral, type(None))),
    "float": ("a number", (Real,)),
    "bool": ("true or false", (bool,)),
}
"""What a value must be, in words and as types, by the annotation of its field."""


def _check_types(settings: Any, where: str = "") -> None:
    """Raise a UserError where a number, a switch or a section of settings has another type.

    Args:
        settings: an instance of a class of settings.
        where: section of the settings, with a dot at its end, for errors.
    """
    for each in fields(settings):
        value = getattr(settings, each.name)
        if str(each.type) in _NUMBERS:
            words, types = _NUMBERS[str(each.type)]
            right = isinstance(value, types) and (bool in types or not isinstance(value, bool))
            require(right, f"{where}{each.name} must be {words}", value)
        elif is_dataclass(each.default):
            section = type(each.default)
            requirement = f"{where}{each.name} must be an autoquant.{section.__name__}"
            require(isinstance(value, section), requirement, value)


@dataclass(frozen=True)
class Training:
    """One training run: its length, its learning rates and when it is scored."""

    epochs: float = 1.0
    """Passes over the training data; a fraction is fine. Ignored when ``steps`` is set."""
    steps: int | None = None
    """Length in batches, instead of epochs."""
    optimizer: str = "adamw"
    """adamw, or sgd (plain: no momentum; language models that Adam overfits take an lr near 20 with
    a clip_norm of 0.25)."""
    lr: float = 1e-3
    """Peak learning rate."""
    schedule: str = "cosine"
    """How the learning rate falls: cosine, to zero; or steps: to a tenth of its peak after 40% of
    the run and to a hundredth after 80% (Bit-RNN)."""
    scale_lr: float = 1e-3
    """Learning rate of the quantizers' scales (they are learned as logarithms)."""
    warmup: float = 0.02
    """Share of the steps over which the learning rate rises from zero."""
    weight_decay: float = 0.0
    """Weight decay of weights, decoupled in adamw; never of biases or scales."""
    clip_norm: float = 1.0
    """Largest L2 norm of the gradient; larger ones are scaled down."""
    scores: int = 0
    """How many intermediate scores are taken on the probe split, evenly spaced."""
    keep: str = "last"
    """Which weights the run ends with: the last ones, or the best of those that were scored on the
    probe split, the last ones included."""
    distill: float = 0.0
    """Share of the loss that follows the float model's predictions instead of the targets
    (knowledge distillation, Hinton et al. 2015); the float model itself never does."""
    dropout: float = 1.0
    """Share of the model's own dropout that this training keeps (of dropout modules, not of calls
    of F.dropout). A student with few steps learns much faster without: 0."""
    precision: str = "float32"
    """Of the products of gradients in quantized layers: float32, or bfloat16, which is faster on
    processors that have it."""
    autocast: str = "none"
    """Run the model under torch.autocast while it trains: none, bfloat16, or float16 (on CUDA only,
    with scaled gradients). Scores are always taken without."""

    def __post_init__(self) -> None:
        _check_types(self)
        requirement = "optimizer must be adamw or sgd"
        require(self.optimizer in ("adamw", "sgd"), requirement, self.optimizer)
        requirement = "schedule must be cosine or steps"
        require(self.schedule in ("cosine", "steps"), requirement, self.schedule)
        require(self.keep in ("last", "best"), "keep must be last or best", self.keep)
        require(0 <= self.distill <= 1, "distill must be in [0, 1]", self.distill)
        require(0 <= self.dropout <= 1, "dropout must be in [0, 1]", self.dropout)
        requirement = "precision must be float32 or bfloat16"
        require(self.precision in ("float32", "bfloat16"), requirement, self.precision)
        requirement = "autocast must be none, bfloat16 or float16"
        require(self.autocast in ("none", "bfloat16", "float16"), requirement, self.autocast)
        require(0 < self.epochs < math.inf, "epochs must be above 0", self.epochs)
        require(self.steps is None or self.steps > 0, "steps must be at least 1", self.steps)
        require(0 < self.lr < math.inf, "lr must be above 0", self.lr)
        require(self.scale_lr >= 0, "scale_lr must not be negative", self.scale_lr)
        require(0 <= self.warmup < 1, "warmup must be in [0, 1)", self.warmup)
        require(self.weight_decay >= 0, "weight_decay must not be negative", self.weight_decay)
        require(self.clip_norm > 0, "clip_norm must be above 0", self.clip_norm)
        require(self.scores >= 0, "scores must not be negative", self.scores)

    def length(self, steps_per_epoch: int) -> int:
        """Number of batches of this run, at least 1.

        Args:
            steps_per_epoch: number of batches of one pass over the training data.
        """
        return self.steps or max(1, round(self.epochs * steps_per_epoch))


@dataclass(frozen=True)
class Scheme:
    """How numbers become codes: one rule for every layer of a plan.

    The defaults are learned scales (LSQ, Esser et al. 2020) that start at the value with the
    smallest mean squared error. ``Scheme.bit_rnn()`` is the quantizer of He et al. 2016, which the
    paper uses; each difference is a field here.
    """

    scale: str = "learned"
    """Scale of weights: "learned" from an MSE-optimal start, "fixed" at that start, or "mean":
    2.5 * mean|W| over all levels, recomputed at every step, without gradient (Bit-RNN). A rule of
    your own: its import path (see autoquant.quantization.scale_rules)."""
    granularity: str = "channel"
    """"channel": one scale for each output channel (row); "tensor": one for all of them."""
    grid: str = "auto"
    """Levels of weights: "midrise" has none at zero, "midtread" has one; "auto" is midrise up to
    3 bits, where a level at zero uses a large share of the levels. 1.6 bits always have one. A
    number format of your own: its name (see autoquant.quantization.formats)."""
    reparametrization: str = "none"
    """"tanh": the trained parameter is V and the weight is tanh(V), at any number of bits."""
    clip_gradient: str = "mask"
    """Gradient of clipped values: "mask" stops it (LSQ), "pass" lets it through (Bit-RNN)."""
    joint_recurrent: bool = False
    """One mean for the input and recurrent weights of a layer together (Bit-RNN; "mean" only). The
    GRU of Bit-RNN has two: of its gates, and of its candidate."""
    scale_bits: int = 16
    """Bits of a stored scale of weights: 16 (bfloat16), 32, or 8: powers of 2**(1/16), an error of
    at most 2.2%. A single scale for a tensor takes bfloat16 then, in as many bytes."""
    bias_bits: int = 16
    """Bits of biases: 1-8, 16 (half precision) or 32."""
    activation_scale: str = "learned"
    """"learned" from a calibrated start, or "unit": the range [0, 1] is assumed (Bit-RNN)."""
    activation_clip: bool = True
    """Whether activations outside the range are clipped; Bit-RNN does not."""
    norms: str = "float"
    """How batch norms are stored: "float" keeps weight, bias, mean and variance in float32; "half"
    stores a scale and a shift in half precision, a quarter of the bytes, which scores and packed
    model compute with; in training the norm uses the batch's statistics, unrounded. Other norms are
    always float32."""

    def __post_init__(self) -> None:
        for field_, allowed in _SCHEME_VALUES.items():
            value = getattr(self, field_)
            requirement = f"quantizer.{field_} must be one of {', '.join(map(str, allowed))}"
            require(value in allowed, requirement, value)
        _check_types(self, "quantizer.")
        requirement = f"quantizer.scale must be one of {', '.join(SCALES)}, or an import path"
        require(SCALES.allows(self.scale), requirement, self.scale)
        require(
            not self.joint_recurrent or self.scale == "mean",
            "quantizer.joint_recurrent needs quantizer.scale=mean",
            self.scale,
        )
        require(
            self.scale != "mean" or self.granularity == "tensor",
            "quantizer.scale=mean needs quantizer.granularity=tensor",
            self.granularity,
        )

    def bits_of(self, role: str, choice: LayerChoice) -> Bits:
        """Bits of a layer's "weight", "recurrent" or "bias" parameters.

        Args:
            role: which of the parameters.
            choice: the plan's choice for the layer; biases do not depend on it.
        """
        return self.bias_bits if role == "bias" else choice.bits_of(role)

    @classmethod
    def bit_rnn(cls, **changes: Any) -> Scheme:
        """Bit-RNN's quantizer (He et al. 2016, section 3; Kapur et al., section 3).

        Args:
            changes: fields that get other values.
        """
        values: dict[str, Any] = {
            "scale": "mean",
            "granularity": "tensor",
            "grid": "midrise",
            "reparametrization": "tanh",
            "clip_gradient": "pass",
            "joint_recurrent": True,
            "scale_bits": 32,
            "bias_bits": 32,
            "activation_scale": "unit",
            "activation_clip": False,
        }
        return cls(**(values | changes))


SCALES = ExtensionNames(["fixed", "learned", "mean"])
"""Names of rules for scales; see autoquant.quantization.scale_rules, which adds to them."""
GRIDS = ExtensionNames(["auto", "midrise", "midtread"])
"""Values of ``quantizer.grid``; see autoquant.quantization.formats, which adds names of formats."""
KERNELS = ExtensionNames(["auto", "native", "torch", "reference"])
"""Values of ``kernel``; see autoquant.kernels.recurrent.registry, which adds names of engines."""

_SCHEME_VALUES: dict[str, Sequence[object]] = {
    "granularity": ("channel", "tensor"),
    "grid": GRIDS,
    "reparametrization": ("none", "tanh"),
    "clip_gradient": ("mask", "pass"),
    "scale_bits": (8, 16, 32),
    "bias_bits": (1, 2, 3, 4, 5, 6, 7, 8, 16, 32),
    "activation_scale": ("learned", "unit"),
    "norms": ("float", "half"),
}


@dataclass(frozen=True)
class Widening:
    """Which layers may grow, and how."""

    max_share: float = 0.10
    """Largest share of the model's parameters that a layer may hold."""
    max_growth: float = 0.10
    """Largest share that growing the layer by half may add to the model."""
    method: str = "split"
    """"split" duplicates units and divides their outgoing weights, "fresh" adds random units whose
    contribution is zero; both keep the function."""

    def __post_init__(self) -> None:
        _check_types(self, "widening.")
        require(0 <= self.max_share <= 1, "widening.max_share must be in [0, 1]", self.max_share)
        require(self.max_growth >= 0, "widening.max_growth must not be negative", self.max_growth)
        require(
            self.method in ("split", "fresh"), "widening.method must be split or fresh", self.method
        )


SAMPLERS = ExtensionNames(["tpe", "gp", "random"])
"""Names of samplers; see autoquant.samplers.registry, which adds to them."""

INIT_FROM = ("baseline", "scratch")
"""What a plan is trained from: the trained float model, or new random weights."""

RULE_FIELDS = tuple(each.name for each in fields(LayerChoice))
"""What a rule can set."""


def _check_choices(where: str, name: str, values: tuple[Any, ...]) -> None:
    """Raise a UserError where a value is not allowed.

    Args:
        where: section of the settings, for errors.
        name: field of LayerChoice.
        values: what the field may be.
    """
    for value in values:
        require(value is not None, f"{where}: {name} must be a number", value)
        try:
            LayerChoice(**{name: value})
        except UserError as error:
            raise UserError(f"{where}: {error}") from error


def _rising(where: str, name: str, values: Sequence[Any]) -> tuple[Any, ...]:
    """Choices as they must be: at least one, each allowed, in rising order.

    Args:
        where: section of the settings, for errors.
        name: field of LayerChoice.
        values: what the field may be.
    """
    require(len(values) > 0, f"{where}.{name} must have a choice", list(values))
    _check_choices(where, name, tuple(values))
    rising = list(values) == sorted(set(values))
    require(rising, f"{where}.{name} must rise", list(values))
    return tuple(values)


def _checked_rules(rules: Any) -> Rules:
    """Rules by name, every value a tuple of choices; a single number is one choice."""
    rules = {} if rules is None else rules
    shape = "rules must map layer names to choices, as in {decoder: {weight_bits: [4, 8]}}"
    require(isinstance(rules, Mapping), shape, rules)
    checked: Rules = {}
    for given, choices in rules.items():
        plain = isinstance(given, str | int) and not isinstance(given, bool)
        require(plain, "rules must have names or patterns of layers as keys (quoted)", given)
        where = f"rules.{given}"
        require(isinstance(choices, Mapping), f"{where} must be like {{weight_bits: 8}}", choices)
        for name in choices:
            known = f"{where} must have keys among {', '.join(RULE_FIELDS)}"
            require(name in RULE_FIELDS, known, name)
        checked[str(given)] = {
            name: _rising(where, name, value if isinstance(value, list | tuple) else [value])
            for name, value in choices.items()
        }
    return checked


@dataclass(frozen=True)
class Space:
    """The choices that the search has; each list in rising order."""

    weight_bits: tuple[Bits, ...] = (1, 1.6, 2, 3, 4, 5, 6, 8)
    """Bits of weights: any of 1-8, 16, 32, and 1.6: the levels -1, 0 and 1, five to a byte."""
    activation_bits: tuple[int, ...] = (4, 6, 8)
    """Bits of layer inputs and hidden states: any of 2-8, 16, 32. The packed size hardly depends
    on them; the score, the runtime memory and the bit-operations do."""
    width: tuple[float, ...] = (1.0, 1.25, 1.5, 2.0)
    """Neuron multipliers of widenable layers, from 1.0 up."""
    split_recurrent: bool = True
    """Whether recurrent weights and hidden states have bits of their own."""

    def __post_init__(self) -> None:
        _check_types(self, "space.")
        for name in ("weight_bits", "activation_bits", "width"):
            values = getattr(self, name)
            require(isinstance(values, list | tuple), f"space.{name} must be a list", values)
            object.__setattr__(self, name, _rising("space", name, values))
        require(self.width[0] == 1.0, "space.width must start at 1.0", list(self.width))


@dataclass(frozen=True)
class Search:
    """All settings of a search; its task is given separately."""

    budget: str = "0.15x"
    """Largest packed file: 0.15x (of the float tensors), 2.5MB, 1.5MiB or 4.5bpw."""
    trials: int = 16
    """Proposals that are trained to an end: finished, pruned, diverged or failed."""
    seed: int = 0
    """Of every random source."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    kernel: str = "auto"
    """What computes quantized layers: native (C, on the CPU), torch (no compiler, any device),
    reference (slow, obvious), or auto, the fastest that suits. An engine of your own for recurrent
    layers: its import path (see autoquant.kernels.recurrent.registry)."""
    sampler: str = "tpe"
    """Optuna's sampler: tpe is quick, gp better and slower (seconds a proposal; needs scipy), or
    random. A sampler of your own: its name or import path (see autoquant.samplers)."""
    fill: bool = True
    """Raise the bits of proposals that leave budget unused, so that plans compare at equal size."""
    sensitivity: int = 4
    """Number of training batches used to measure each layer's sensitivity to few weight bits; the
    first proposals follow from it. 0: they distribute bits evenly."""
    prune: bool = True
    """Stop a trial whose intermediate score is worse than three quarters of the earlier ones."""
    references: tuple[Bits, ...] = (8, 4, 3, 2)
    """Weight bits of the uniform plans that are trained, unwidened, for comparison; their
    activations have the widest bits of the space."""
    pretrained: str | None = None
    """Weights of the float model (a safetensors file or another study), instead of training it."""
    baseline: Training = Training(epochs=5.0, lr=3e-3, scores=4)
    """How the float model is trained."""
    qat: Training = Training(steps=100, lr=3e-4, scores=2)
    """The short quantization-aware training that scores a candidate."""
    final: Training = Training(epochs=1.0, lr=3e-4)
    """The full quantization-aware training of the plan that is applied."""
    quantizer: Scheme = Scheme()
    """How numbers become codes."""
    widening: Widening = Widening()
    """Which layers may grow, and how."""
    space: Space = Space()
    """The choices for each layer."""
    rules: Rules = field(default_factory=dict, hash=False)
    """Other choices for some layers, by shell-style patterns of their names, as in
    {decoder: {weight_bits: [4,8], width: 1.0}, rnn.*: {activation_bits: 8}}. A key (weight_bits,
    activation_bits, recurrent_bits, hidden_bits, width) takes the last rule that matches and names
    it; recurrent_bits and hidden_bits follow weight_bits and activation_bits unless named. A width
    lets a layer grow that the profile's rule would not pick, or, as 1.0, keeps it."""

    def __post_init__(self) -> None:
        _check_types(self)
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
        object.__setattr__(self, "references", tuple(self.references))
        _check_choices("references", "weight_bits", self.references)
        object.__setattr__(self, "rules", _checked_rules(self.rules))
        requirement = f"kernel must be one of {', '.join(KERNELS)}, or an import path"
        require(KERNELS.allows(self.kernel), requirement, self.kernel)
        requirement = f"sampler must be one of {', '.join(SAMPLERS)}, or an import path"
        require(SAMPLERS.allows(self.sampler), requirement, self.sampler)


@dataclass(frozen=True)
class Sweep:
    """Which plans a sweep trains: a grid of uniform ones, or of ones filled up to a budget."""

    weight_bits: tuple[Bits, ...] = (8, 4, 3, 2)
    """Bits of all weights, recurrent ones included."""
    activation_bits: tuple[int, ...] = (8,)
    """Bits of all layer inputs and hidden states."""
    width: tuple[float, ...] = (1.0,)
    """Neuron multipliers of the layers that may grow, by the profile or by a rule."""
    budgets: tuple[str, ...] = ()
    """Instead of weight_bits: for each budget, activation_bits and width the bits that fill the
    budget, more of them where the sensitivity is high (see sensitivity; 0: evenly). Plans of all
    widths then have equal true bytes."""
    plans: tuple[str, ...] = ()
    """Plan files to train beside the grid, and studies, for the plans that they chose."""
    seeds: tuple[int, ...] = (0,)
    """Each plan is trained once with each: its growth, its batches, its dropout; from scratch also
    its first weights."""
    init_from: str = "baseline"
    """"baseline" grows the trained float model, its function kept, and trains as ``final`` says;
    "scratch" draws new weights and trains in low precision from the first step, as ``baseline``
    says; in the first half of that training all scales are recalibrated sixteen times."""
    test: bool = True
    """Whether the test split is scored as well."""

    def __post_init__(self) -> None:
        _check_types(self, "sweep.")
        for name in ("weight_bits", "activation_bits", "width", "budgets", "plans", "seeds"):
            values = getattr(self, name)
            require(isinstance(values, list | tuple), f"sweep.{name} must be a list", values)
            object.__setattr__(self, name, tuple(values))
            twice = len(set(values)) != len(values)
            require(not twice, f"sweep.{name} must name each value once", list(values))
        for name in ("weight_bits", "activation_bits", "width"):
            _check_choices("sweep", name, getattr(self, name))
        whole = all(type(seed) is int and 0 <= seed < 2**32 for seed in self.seeds)
        require(bool(self.seeds) and whole, "sweep.seeds must be whole numbers", list(self.seeds))
        grid = (self.budgets or self.weight_bits) and self.activation_bits and self.width
        require(bool(grid or self.plans), "sweep must have a grid or plans", "neither")
        requirement = f"sweep.init_from must be {' or '.join(INIT_FROM)}"
        require(self.init_from in INIT_FROM, requirement, self.init_from)


RENAMED = {"sweep.start": "sweep.init_from"}
"""Settings of earlier versions, which studies and command lines may still have, by their names."""


def from_dict(cls: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """Build settings from plain values, as YAML or asdict give them.

    Names of earlier versions (RENAMED) are read as well.

    Args:
        cls: a class of settings of this module.
        values: by the names of its fields; sections are mappings. What is left out keeps its
            default.
        where: section of the settings, with a dot at its end, for errors.

    Raises:
        UserError: a key is unknown or a value is refused.
    """
    known = {each.name: each for each in fields(cls)}  # type: ignore[arg-type]
    given: dict[str, Any] = {}
    for key, value in values.items():
        name = RENAMED.get(f"{where}{key}", f"{where}{key}").removeprefix(where)
        requirement = f"settings must be among {', '.join(known)}"
        require(name in known, requirement, f"{where}{name}")
        default = known[name].default
        if is_dataclass(default) and isinstance(value, Mapping):
            given[name] = from_dict(type(default), value, f"{where}{name}.")
        else:
            given[name] = tuple(value) if isinstance(value, list) else value
    return cls(**given)
