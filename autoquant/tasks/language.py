"""Word-level language modelling, scored by perplexity."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autoquant.errors import UserError
from autoquant.kernels import cross_entropy, distillation_cross_entropy
from autoquant.task import Direction, Example, Split
from autoquant.tasks.corpus import Corpus, read_stdlib, read_treebank
from autoquant.tasks.language_model import LanguageModel
from autoquant.tasks.sampling import Sample, WordSampler


class Window(NamedTuple):
    """One batch: inputs and targets [T, B]; ``fresh`` where the stream starts anew."""

    inputs: Tensor
    targets: Tensor
    fresh: bool


IGNORED = -100  # target id that the loss skips (torch's default)


@dataclass(frozen=True)
class _View:
    """What a step shows to a model, and asks of it.

    Attributes:
        inputs: [T, B].
        targets: [T * B], ids among the words whose logits are computed, or IGNORED.
        sample: these words; None for all.
    """

    inputs: Tensor
    targets: Tensor
    fresh: bool
    sample: Sample | None

    def logits(self, model: nn.Module, carry: Any) -> tuple[Tensor, Any]:
        """Logits [T * B, n] and the detached recurrent state after the window."""
        carry = None if self.fresh else carry
        if self.sample is None:
            logits, state = model(self.inputs, carry)
            return logits.flatten(0, 1), _detached(state)
        logits, state = model(self.inputs, carry, self.sample.words)
        return self.sample.shifted(logits.flatten(0, 1), self.targets), _detached(state)


class LanguageTask:
    """Language modelling on a corpus, trained by truncated backpropagation through time.

    The training stream is cut into ``batch_size`` columns that are read side by side, ``length``
    steps at a time; the recurrent state is carried from one window to the next within an epoch.

    Args:
        corpus: the text.
        batch_size: columns B.
        length: steps T of a window.
        probe_tokens: how much of the validation text the probe split takes.
        sampled: words, on average, whose logits a training step computes (see WordSampler); 0 for
            all. Scores always take all.
        model: arguments of LanguageModel, without the vocabulary.
    """

    metric = "perplexity"
    direction: Direction = "minimize"

    def __init__(
        self,
        corpus: Corpus,
        batch_size: int = 20,
        length: int = 35,
        probe_tokens: int = 20_000,
        sampled: int = 0,
        **model: Any,
    ) -> None:
        if batch_size < 1 or length < 1:
            raise UserError(f"batch_size and length must be at least 1, got {batch_size}, {length}")
        if probe_tokens < 2:
            raise UserError(f"probe_tokens must be at least 2, got {probe_tokens}")
        self.name = corpus.name
        self.corpus = corpus
        self.batch_size = batch_size
        self.length = length
        self._model = model
        self._streams = {name: torch.from_numpy(ids).long() for name, ids in corpus.streams.items()}
        self._streams["probe"] = self._streams["valid"][:probe_tokens]
        counts = torch.bincount(self._streams["train"], minlength=len(corpus.vocabulary))
        self._sampler = WordSampler(counts, sampled) if sampled else None

    def build_model(self) -> nn.Module:
        return LanguageModel(len(self.corpus.vocabulary), **self._model)

    def steps_per_epoch(self) -> int:
        columns = self._columns_of("train", 0)[0]
        return math.ceil(columns.shape[0] / self.length)

    def batches(self, seed: int, start: int = 0) -> Iterator[Window]:
        """Windows of epoch after epoch; each epoch starts at another offset into the stream."""
        per_epoch = self.steps_per_epoch()
        epoch, skipped = divmod(start, per_epoch)
        while True:
            generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
            offset = int(torch.randint(self.length, (1,), generator=generator)) if epoch else 0
            yield from self._windows("train", offset, skipped)
            epoch, skipped = epoch + 1, 0

    def loss(self, model: nn.Module, batch: Window, carry: Any) -> tuple[Tensor, Any]:
        """Mean cross-entropy in nats per predicted token, and the detached recurrent state."""
        view = self._view(model, batch)
        logits, state = view.logits(model, carry)
        return cross_entropy(logits, view.targets, IGNORED), state

    def distillation_loss(
        self, model: nn.Module, teacher: nn.Module, batch: Window, carry: Any, share: float
    ) -> tuple[Tensor, Any]:
        """The same, with ``share`` of the targets' weight on the teacher's next-word distribution.

        Both models carry a recurrent state.
        """
        own, taught = (None, None) if carry is None else carry
        view = self._view(model, batch)
        with torch.no_grad():
            soft, taught = view.logits(teacher, taught)
        logits, own = view.logits(model, own)
        return distillation_cross_entropy(logits, soft, view.targets, share, IGNORED), (own, taught)

    def _view(self, model: nn.Module, batch: Window) -> _View:
        device = next(model.parameters()).device
        inputs, targets = batch.inputs.to(device), batch.targets.to(device).flatten()
        if self._sampler is None or not model.training:
            return _View(inputs, targets, batch.fresh, None)
        sample = self._sampler.draw(targets)
        return _View(inputs, sample.places(targets, IGNORED), batch.fresh, sample)

    @torch.no_grad()
    def score(self, model: nn.Module, split: Split) -> float:
        """Perplexity: exp of the mean negative log-likelihood of every token but the first."""
        total, predicted, carry = 0.0, 0, None
        for window in self._windows(split, 0, 0):
            count = int((window.targets != IGNORED).sum())
            loss, carry = self.loss(model, window, carry)
            total, predicted = total + float(loss) * count, predicted + count
        mean = total / predicted
        return math.exp(mean) if mean < 700 else math.inf

    def example(self) -> Example:
        window = next(self._windows("train", 0, 0))
        return Example((window.inputs,), window.inputs.numel(), "token")

    def _windows(self, split: str, offset: int, skipped: int) -> Iterator[Window]:
        inputs, targets = self._columns_of(split, offset)
        for start in range(skipped * self.length, inputs.shape[0], self.length):
            window = slice(start, start + self.length)
            yield Window(inputs[window], targets[window], fresh=start == 0)

    def _columns_of(self, split: str, offset: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets [steps, B]: consecutive columns of the stream, ends padded.

        Every token but the first is a target exactly once, whatever the batch size. In training
        the stream is rotated by ``offset``.
        """
        stream = self._streams[split]
        stream = torch.cat([stream[offset:], stream[:offset]])
        width = min(self.batch_size, len(stream) - 1)
        steps = math.ceil((len(stream) - 1) / width)
        padding = steps * width - (len(stream) - 1)
        inputs = F.pad(stream[:-1], (0, padding))
        targets = F.pad(stream[1:], (0, padding), value=IGNORED)
        return (
            inputs.view(width, steps).t().contiguous(),
            targets.view(width, steps).t().contiguous(),
        )


def _detached(state: Any) -> Any:
    if isinstance(state, Tensor):
        return state.detach()
    return tuple(_detached(part) for part in state)


def stdlib(
    tokens: int = 400_000, vocabulary: int = 4_000, root: str | None = None, **options: Any
) -> LanguageTask:
    """The embedded task: the source of the interpreter's own standard library, or of ``root``."""
    return LanguageTask(read_stdlib(tokens, vocabulary, root), **options)


def treebank(data_dir: str, prefix: str = "ptb", **options: Any) -> LanguageTask:
    """The Penn Treebank (or any text laid out like it) in ``data_dir``."""
    return LanguageTask(read_treebank(data_dir, prefix), **options)
