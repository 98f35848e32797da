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
from benchmarks.checks import Results, close_to
from benchmarks.kernels import NATIVE, NATIVE_BF16, REFERENCE, TORCH, Kernel, under

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
class Size:
    """A language model: Embedding, recurrent layers of the same width, decoder."""

    units: int
    layers: int = 1
    cell: str = "lstm"
    words: int = 10_000

    @property
    def label(self) -> str:
        many = f"{self.layers} x " if self.layers > 1 else ""
        return f"{self.cell.upper()} {many}{self.units}"

    @property
    def title(self) -> str:
        return f"language model of {self.words:,} words, {self.label}"


class Step:
    """A training step on one batch: forward, backward and, if asked for, clipping and AdamW."""

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


class Subject:
    """A language model on random words: times do not depend on what the words are."""

    def __init__(self, size: Size) -> None:
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
    def model(self) -> nn.Module:
        """Prepared, float."""
        torch.manual_seed(0)
        return prepare(self.task.build_model())

    @cached_property
    def plain(self) -> nn.Module:
        """As the task builds it, with torch's own recurrent layers."""
        torch.manual_seed(0)
        return self.task.build_model()

    def candidate(self, choice: str) -> nn.Module:
        """The model with its quantizers, unwidened, as a search would train it."""
        network = describe(self.model, None)
        plan = uniform_plan(build_space(network, (), Space()), network, CHOICES[choice])
        return build_candidate(
            self.model, network, plan, Scheme(), self.task, method="split", seed=0
        )

    @cached_property
    def all_4_bits(self) -> nn.Module:
        return self.candidate(ALL_4_BITS)

    @cached_property
    def loss(self) -> Results:
        """The float model's loss; at the start every quantized one's is near it."""
        return Step(self.task, self.plain, optimize=False)()

    @cached_property
    def truth(self) -> Results:
        """Loss and gradients of the quantized model on the reference kernels."""
        step = Step(self.task, self.all_4_bits, optimize=False)
        return {**under(REFERENCE, step)(), **self.gradients()}

    def gradients(self) -> Results:
        """All gradients of the quantized model, end to end."""
        found = [p.grad.flatten() for p in self.all_4_bits.parameters() if p.grad is not None]
        return {"gradients": torch.cat(found)}

    def variant(self, name: str, make: Callable[[], Call]) -> Variant:
        """A variant whose loss must be near the float model's."""
        return Variant(name, make, close_to(lambda: self.loss, LOSS))


def cases() -> Iterator[Case]:
    for size in (Size(300), Size(1000), Size(650, layers=2)):
        subject = Subject(size)
        for optimize in (False, True):
            what = "forward, backward, clipping and AdamW" if optimize else "forward and backward"
            title = f"{size.title}; {ALL_4_BITS}; {what}; batch 20, 35 steps"
            label = f"{size.label}, with AdamW" if optimize else size.label
            yield Case(GROUP, title, label, tuple(kernel_variants(subject, optimize)))
    for size in (Size(300), Size(300, cell="gru"), Size(128, words=4_000)):
        title = f"{size.title}; bits; forward, backward, clipping and AdamW; batch 20, 35 steps"
        yield Case(GROUP, title, f"{size.label}, bits", tuple(bit_variants(Subject(size))))


def kernel_variants(subject: Subject, optimize: bool) -> Iterator[Variant]:
    """The float model, and the quantized one on each of autoquant's kernels."""

    def stepping(model: nn.Module) -> Step:
        own = copy.deepcopy(model) if optimize else model  # each trains by itself
        return Step(subject.task, own, optimize=optimize)

    def autocast() -> Call:
        step = stepping(subject.plain)
        return lambda: _under_autocast(step)

    def ours(kernel: Kernel) -> Variant:
        tolerance = GRADIENTS_BF16 if kernel.precision == "bfloat16" else GRADIENTS
        check = close_to(lambda: subject.truth, tolerance)
        return Variant(
            f"autoquant {kernel}",
            lambda: under(kernel, stepping(subject.all_4_bits)),
            # with an optimizer each trains a copy, and the gradients are those of the case before
            lambda results: check({**results, **({} if optimize else subject.gradients())}),
        )

    yield subject.variant("float", lambda: stepping(subject.plain))
    yield subject.variant("float under bfloat16 autocast", autocast)
    for kernel in (REFERENCE, TORCH, NATIVE, NATIVE_BF16):
        yield ours(kernel)


def _under_autocast(step: Step) -> Results:
    try:
        with torch.autocast("cpu", torch.bfloat16):
            return step()
    except RuntimeError as error:
        if "could not create a primitive" in str(error):
            raise Absent("torch has no bfloat16 LSTM for this CPU") from error
        raise


def bit_variants(subject: Subject) -> Iterator[Variant]:
    """The float model, and several plans on whatever kernels autoquant picks."""

    def stepping(model: nn.Module) -> Step:
        return Step(subject.task, model, optimize=True)

    def made(choice: str) -> Variant:
        return subject.variant(choice, lambda: stepping(subject.candidate(choice)))

    yield subject.variant("float", lambda: stepping(copy.deepcopy(subject.plain)))
    for choice in CHOICES:
        yield made(choice)
