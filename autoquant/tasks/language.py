"""Word-level language modelling, scored by perplexity."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from autoquant.errors import UserError
from autoquant.kernels import cross_entropy, distillation_cross_entropy
from autoquant.settings import Search, require
from autoquant.task import Direction, Example, Split, task
from autoquant.tasks.corpus import Corpus, StdlibText, Text, TreebankText
from autoquant.tasks.language_model import LanguageModel
from autoquant.tasks.sampling import Sample, WordSampler, check_sampled
from autoquant.tasks.task_file import task_file
from autoquant.tasks.word_streams import WordStreams, decode_vocabulary, encode_vocabulary

IGNORED = -100
"""Target id that the loss skips (torch's default)."""
VOCABULARY = "vocabulary"
"""Name of the asset that has the words, one a line, in the order of their ids."""


class Window(NamedTuple):
    """One batch: T time steps of B columns of the text.

    Attributes:
        inputs: word ids, [T, B].
        targets: ids of the words that follow, or IGNORED, [T, B].
        fresh: whether the stream starts again here, without a recurrent state.
    """

    inputs: Tensor
    targets: Tensor
    fresh: bool


@dataclass(frozen=True)
class _Batch:
    """A window on a model's device, and the words whose logits the step computes.

    Attributes:
        inputs: word ids, [T, B].
        targets: [T * B], positions among the words whose logits are computed, or IGNORED.
        fresh: whether the recurrent state is dropped.
        sample: the words; None for all.
    """

    inputs: Tensor
    targets: Tensor
    fresh: bool
    sample: Sample | None

    def logits(self, model: nn.Module, state: Any) -> tuple[Tensor, Any]:
        """Logits [T * B, n] and the detached recurrent state after the window."""
        state = None if self.fresh else state
        if self.sample is None:
            logits, state = model(self.inputs, state)
            return logits.flatten(0, 1), _detached(state)
        logits, state = model(self.inputs, state, self.sample.words)
        return self.sample.corrected(logits.flatten(0, 1), self.targets), _detached(state)


def _detached(state: Any) -> Any:
    """A recurrent state without its gradient."""
    return pytree.tree_map_only(Tensor, Tensor.detach, state)


class LanguageTask:
    """Language modelling on a corpus, trained by truncated backpropagation through time.

    The training stream is cut into ``batch_size`` columns that are read side by side, ``length``
    time steps per batch; the recurrent state is carried from one window to the next within an
    epoch. A text is read when it is first needed: the vocabulary by ``build_model``, unless it was
    restored from a packed file's assets; then each split on its own.

    Args:
        corpus: the text, or where to read it.
        batch_size: columns B.
        length: time steps T of a window.
        probe_tokens: how many tokens of the validation text are the probe split.
        sampled: words, on average, whose logits a training step computes (see ``WordSampler``); 0
            for all. Scores always use all.
        preferred: settings that suit the task (see ``PrefersSettings``); nothing when None.
        model: arguments of ``LanguageModel``, without the vocabulary.

    Raises:
        UserError: an argument is out of its range.
    """

    metric = "perplexity"
    direction: Direction = "minimize"
    preferred: Search | None = None

    def __init__(
        self,
        corpus: Corpus | Text,
        batch_size: int = 20,
        length: int = 35,
        probe_tokens: int = 20_000,
        sampled: int = 0,
        preferred: Search | None = None,
        **model: Any,
    ) -> None:
        if batch_size < 1 or length < 1:
            raise UserError(f"batch_size and length must be at least 1, got {batch_size}, {length}")
        if probe_tokens < 2:
            raise UserError(f"probe_tokens must be at least 2, got {probe_tokens}")
        if preferred is not None:
            self.preferred = preferred
        require(isinstance(sampled, Integral), "sampled must be a whole number", sampled)
        self.name = corpus.name
        self.batch_size = batch_size
        self.length = length
        self._model = model
        self._streams = WordStreams(corpus, probe_tokens)
        self._sampled = sampled
        self._sampler: WordSampler | None = None
        if self._streams.is_read:
            self._check_sampled()

    def _check_sampled(self) -> None:
        if self._sampled:
            check_sampled(self._sampled, len(self._streams.vocabulary))

    @property
    def corpus(self) -> Corpus:
        """The whole text with its own vocabulary; it is read where that has not been done."""
        return self._streams.corpus

    def build_model(self) -> nn.Module:
        """See ``Task.build_model``."""
        self._check_sampled()
        return LanguageModel(len(self._streams.vocabulary), **self._model)

    def assets(self) -> dict[str, bytes]:
        """See ``SupportsAssets.assets``: the vocabulary."""
        return {VOCABULARY: encode_vocabulary(self._streams.vocabulary)}

    def restore_assets(self, assets: Mapping[str, bytes]) -> None:
        """See ``SupportsAssets.restore_assets``; without a vocabulary the text is read.

        Args:
            assets: of a packed file.

        Raises:
            UserError: the vocabulary is damaged.
        """
        stored = assets.get(VOCABULARY)
        self._streams.restore(None if stored is None else decode_vocabulary(stored))
        self._sampler = None

    def steps_per_epoch(self) -> int:
        """Number of windows of the training text."""
        columns = self._columns_of(self._streams.stream("train"), 0)[0]
        return math.ceil(columns.shape[0] / self.length)

    def batches(self, seed: int, start: int = 0) -> Iterator[Window]:
        """Windows of epoch after epoch; each epoch starts at another place of the stream.

        Args:
            seed: of the places.
            start: number of the first window, from 0.
        """
        per_epoch, tokens = self.steps_per_epoch(), len(self._streams.stream("train"))
        epoch, skipped = divmod(start, per_epoch)
        while True:
            generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
            offset = int(torch.randint(tokens, (1,), generator=generator))
            yield from self._windows("train", offset, skipped)
            epoch, skipped = epoch + 1, 0

    def loss(self, model: nn.Module, batch: Window, carry: Any) -> tuple[Tensor, Any]:
        """Mean cross-entropy in nats per predicted token, and the detached recurrent state.

        Args:
            model: a ``LanguageModel``, or one that has been prepared or quantized.
            batch: a window.
            carry: recurrent state after the window before.
        """
        moved = self._batch(model, batch)
        logits, state = moved.logits(model, carry)
        return cross_entropy(logits, moved.targets, IGNORED), state

    def distillation_loss(
        self, model: nn.Module, teacher: nn.Module, batch: Window, carry: Any, alpha: float
    ) -> tuple[Tensor, Any]:
        """Cross-entropy against a mix of the targets and the teacher's next-word distribution.

        Args:
            model: the student.
            teacher: the float model, in eval mode.
            batch: a window.
            carry: recurrent states of student and teacher after the window before.
            alpha: weight of the teacher.

        Returns:
            the mean in nats per predicted token, and both models' detached recurrent states.
        """
        student_state, teacher_state = (None, None) if carry is None else carry
        moved = self._batch(model, batch)
        with torch.no_grad():
            teacher_logits, teacher_state = moved.logits(teacher, teacher_state)
        logits, student_state = moved.logits(model, student_state)
        loss = distillation_cross_entropy(logits, teacher_logits, moved.targets, alpha, IGNORED)
        return loss, (student_state, teacher_state)

    def _batch(self, model: nn.Module, window: Window) -> _Batch:
        """A window on the model's device; in training with a sample of words, if there is one."""
        device = next(model.parameters()).device
        inputs, targets = window.inputs.to(device), window.targets.to(device).flatten()
        if not self._sampled or not model.training:
            return _Batch(inputs, targets, window.fresh, None)
        sample = self._word_sampler().draw(targets)
        return _Batch(inputs, sample.positions_of(targets, IGNORED), window.fresh, sample)

    def _word_sampler(self) -> WordSampler:
        if self._sampler is None:
            words = len(self._streams.vocabulary)
            counts = torch.bincount(self._streams.stream("train"), minlength=words)
            self._sampler = WordSampler(counts, self._sampled)
        return self._sampler

    def score(self, model: nn.Module, split: Split) -> float:
        """Perplexity: exp of the mean negative log-likelihood of every token but the first.

        Args:
            model: in eval mode.
            split: "probe", "valid" or "test".
        """
        return self._perplexity(model, self._windows(split, 0, 0))

    def score_file(self, model: nn.Module, path: Path) -> float:
        """See ``ScoresFiles.score_file``: the perplexity, as of a split with that text.

        Words out of the vocabulary count as ``<unk>``. No other text is read if the vocabulary was
        restored.

        Args:
            model: in eval mode.
            path: of a text in UTF-8, which is cut into words as the corpus is.

        Raises:
            UserError: it is no text of at least two words.
        """
        return self._perplexity(model, self._windows_of(self._streams.stream_of_file(path), 0, 0))

    @torch.no_grad()
    def _perplexity(self, model: nn.Module, windows: Iterable[Window]) -> float:
        """See ``score``.

        Args:
            model: in eval mode.
            windows: of one pass over a text.
        """
        total, predicted, carry = 0.0, 0, None
        for window in windows:
            count = int((window.targets != IGNORED).sum())
            loss, carry = self.loss(model, window, carry)
            total, predicted = total + float(loss) * count, predicted + count
        mean = total / predicted
        return math.exp(mean) if mean < 700 else math.inf

    def example(self) -> Example:
        """The inputs of the first window; MACs are for one token."""
        window = next(self._windows("train", 0, 0))
        return Example((window.inputs,), window.inputs.numel(), "token")

    def _windows(self, split: str, offset: int, skipped: int) -> Iterator[Window]:
        """The windows of one pass over a split.

        Args:
            split: "train", "probe", "valid" or "test".
            offset: tokens by which the stream is rotated.
            skipped: windows that are left out at the start.
        """
        return self._windows_of(self._streams.stream(split), offset, skipped)

    def _windows_of(self, stream: Tensor, offset: int, skipped: int) -> Iterator[Window]:
        """The windows of one pass over a stream.

        Args:
            stream: word ids, [tokens].
            offset: tokens by which it is rotated.
            skipped: windows that are left out at the start.
        """
        inputs, targets = self._columns_of(stream, offset)
        for start in range(skipped * self.length, inputs.shape[0], self.length):
            window = slice(start, start + self.length)
            yield Window(inputs[window], targets[window], fresh=start == 0)

    def _columns_of(self, stream: Tensor, offset: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets [time steps, B]: consecutive columns of the stream, ends padded.

        Every token but the first is a target exactly once, whatever the batch size. In training
        the stream is rotated by ``offset``.
        """
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


@task("stdlib")
def stdlib(
    tokens: int = 400_000, vocabulary: int = 4_000, root: str | None = None, **options: Any
) -> LanguageTask:
    """The embedded task: the source of the interpreter's own standard library.

    Args:
        tokens: training tokens, at most.
        vocabulary: number of words, ``<unk>`` included.
        root: a folder of Python files to read instead.
        options: other arguments of ``LanguageTask``, those of the model and ``preferred`` included;
            their defaults are in conf/task/stdlib.yaml.
    """
    options = task_file("stdlib").options("tokens", "vocabulary", "root") | options
    return LanguageTask(StdlibText(tokens, vocabulary, root), **options)


@task("ptb")
def treebank(data_dir: str, prefix: str = "ptb", **options: Any) -> LanguageTask:
    """The Penn Treebank, or any text laid out like it.

    Args:
        data_dir: folder of the files ``{prefix}.train.txt``, ``.valid.txt`` and ``.test.txt``.
        prefix: of their names.
        options: other arguments of ``LanguageTask``, those of the model and ``preferred`` included;
            their defaults are in conf/task/ptb.yaml.
    """
    options = task_file("ptb").options("prefix") | options
    return LanguageTask(TreebankText(data_dir, prefix), **options)
