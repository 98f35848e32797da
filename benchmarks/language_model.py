"""Group ``language-model``: a training step of a whole language model over the float model's."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import nn

from autoquant.graph.describe import describe
from autoquant.graph.prepare import prepare
from autoquant.plan import LayerChoice
from autoquant.settings import Scheme, Space
from autoquant.space.search_space import build_space, uniform_plan
from autoquant.tasks.corpus import Corpus
from autoquant.tasks.language import LanguageTask
from autoquant.training.qat import build_candidate
from benchmarks.case import Absent, Call, Case, Variant
from benchmarks.checks import Results, close_to, parameter_gradients
from benchmarks.kernels import NATIVE, NATIVE_BF16, REFERENCE, TORCH, Kernel, under
from benchmarks.recurrent import stack_label

GROUP = "language-model"
ABOUT = "training step of a whole word-level language model, over the float model"

ALL_4_BITS = "4-bit weights, inputs and hidden state"
CHOICES = {
    "4-bit weights": LayerChoice(4, 32),
    "4-bit weights, 8-bit inputs": LayerChoice(4, 8, hidden_bits=32),
    "4-bit weights, 8-bit inputs and hidden state": LayerChoice(4, 8),
    "2-bit weights, 4-bit inputs and hidden state": LayerChoice(2, 4),
    ALL_4_BITS: LayerChoice(4, 4),
}
# Largest relative errors: of a loss, and of all gradients together against the reference kernels'.
LOSS = 0.01
GRADIENTS, GRADIENTS_BF16 = 0.03, 0.06


@dataclass(frozen=True)
class ModelSize:
    """A language model: embedding, recurrent layers of the same width, decoder.

    Attributes:
        units: of the embedding and of every recurrent layer.
        layers: recurrent ones.
        cell: "lstm" or "gru".
        words: of the vocabulary.
    """

    units: int
    layers: int = 1
    cell: str = "lstm"
    words: int = 10_000

    @property
    def label(self) -> str:
        return stack_label(self.cell.upper(), self.layers, self.units)

    @property
    def title(self) -> str:
        return f"language model of {self.words:,} words, {self.label}"


class ModelStep:
    """A training step on one batch: forward, backward and, if asked for, clipping and AdamW.

    Args:
        task: gives the batch and the loss.
        model: of the task.
        optimize: whether gradients are clipped and AdamW changes the weights.
    """

    def __init__(self, task: LanguageTask, model: nn.Module, *, optimize: bool) -> None:
        self.task, self.model = task, model.train()
        self.batch = next(task.batches(0))
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3) if optimize else None

    def __call__(self) -> Results:
        self.model.zero_grad(set_to_none=True)
        loss, _ = self.task.loss(self.model, self.batch, None)
        loss.backward()
        if self.optimizer is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
        return {"loss": loss}


class LanguageModelSubject:
    """A language model on random words: times do not depend on what the words are.

    Args:
        size: of the model.
    """

    def __init__(self, size: ModelSize) -> None:
        self.size = size

    @cached_property
    def task(self) -> LanguageTask:
        random = np.random.default_rng(0)
        words = tuple(str(i) for i in range(self.size.words))
        streams = {
            split: random.integers(0, self.size.words, 20_000).astype(np.int32)
            for split in ("train", "valid", "test")
        }
        return LanguageTask(
            Corpus("random", words, streams),
            embedding=self.size.units,
            hidden=self.size.units,
            layers=self.size.layers,
            cell=self.size.cell,
            dropout=0.0,
        )

    @cached_property
    def prepared(self) -> nn.Module:
        """The float model with autoquant's recurrent layers."""
        torch.manual_seed(0)
        return prepare(self.task.build_model())

    @cached_property
    def float_model(self) -> nn.Module:
        """The model as the task builds it, with torch's own recurrent layers."""
        torch.manual_seed(0)
        return self.task.build_model()

    def candidate(self, choice: str) -> nn.Module:
        """The model with its quantizers, unwidened, as a search would train it."""
        network = describe(self.prepared, None)
        plan = uniform_plan(build_space(network, (), Space()), network, CHOICES[choice])
        return build_candidate(
            self.prepared, network, plan, Scheme(), self.task, method="split", seed=0
        )

    @cached_property
    def all_4_bits(self) -> nn.Module:
        return self.candidate(ALL_4_BITS)

    @cached_property
    def float_loss(self) -> Results:
        """The float model's loss; before training those of the quantized models are near it."""
        return ModelStep(self.task, self.float_model, optimize=False)()

    @cached_property
    def expected(self) -> Results:
        """Loss and gradients of the quantized model on the reference kernels."""
        step = ModelStep(self.task, self.all_4_bits, optimize=False)
        return {**under(REFERENCE, step)(), **self.gradients()}

    def gradients(self) -> Results:
        """The gradients of the quantized model's parameters."""
        return {"gradients": parameter_gradients(self.all_4_bits)}

    def variant(self, name: str, build: Callable[[], Call]) -> Variant:
        """A variant whose loss must be near the float model's."""
        return Variant(name, build, close_to(lambda: self.float_loss, LOSS))


def cases() -> Iterator[Case]:
    for size in (ModelSize(300), ModelSize(1000), ModelSize(650, layers=2)):
        subject = LanguageModelSubject(size)
        for optimize in (False, True):
            parts = "forward, backward, clipping and AdamW" if optimize else "forward and backward"
            title = f"{size.title}; {ALL_4_BITS}; {parts}; batch 20, 35 steps"
            label = f"{size.label}, with AdamW" if optimize else size.label
            yield Case(GROUP, title, label, tuple(_kernel_variants(subject, optimize)))
    for size in (ModelSize(300), ModelSize(300, cell="gru"), ModelSize(128, words=4_000)):
        title = f"{size.title}; bits; forward, backward, clipping and AdamW; batch 20, 35 steps"
        variants = tuple(_bit_variants(LanguageModelSubject(size)))
        yield Case(GROUP, title, f"{size.label}, bits", variants)


def _kernel_variants(subject: LanguageModelSubject, optimize: bool) -> Iterator[Variant]:
    """The float model, and the quantized one on each of autoquant's kernels."""

    def step_of(model: nn.Module) -> ModelStep:
        # an optimizer changes the weights, so each variant trains a copy
        return ModelStep(
            subject.task, copy.deepcopy(model) if optimize else model, optimize=optimize
        )

    def autocast() -> Call:
        step = step_of(subject.float_model)
        return lambda: _under_autocast(step)

    def quantized(kernel: Kernel) -> Variant:
        tolerance = GRADIENTS_BF16 if kernel.precision == "bfloat16" else GRADIENTS
        check = close_to(lambda: subject.expected, tolerance)
        return Variant(
            f"autoquant {kernel}",
            lambda: under(kernel, step_of(subject.all_4_bits)),
            # with an optimizer a copy has the gradients; the case without one has checked them
            lambda results: check({**results, **({} if optimize else subject.gradients())}),
        )

    yield subject.variant("float", lambda: step_of(subject.float_model))
    yield subject.variant("float under bfloat16 autocast", autocast)
    for kernel in (REFERENCE, TORCH, NATIVE, NATIVE_BF16):
        yield quantized(kernel)


def _under_autocast(step: ModelStep) -> Results:
    try:
        with torch.autocast("cpu", torch.bfloat16):
            return step()
    except RuntimeError as error:
        if "could not create a primitive" in str(error):
            raise Absent("torch has no bfloat16 LSTM for this CPU") from error
        raise


def _bit_variants(subject: LanguageModelSubject) -> Iterator[Variant]:
    """The float model, and several plans on the kernels that autoquant picks."""

    def step_of(model: nn.Module) -> ModelStep:
        return ModelStep(subject.task, model, optimize=True)

    def quantized(choice: str) -> Variant:
        return subject.variant(choice, lambda: step_of(subject.candidate(choice)))

    yield subject.variant("float", lambda: step_of(copy.deepcopy(subject.float_model)))
    for choice in CHOICES:
        yield quantized(choice)
