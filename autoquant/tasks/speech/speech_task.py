"""SpeechTask: recognition of characters with the CTC loss, scored by word error rate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autoquant.errors import UserError, shown
from autoquant.settings import Search
from autoquant.task import Direction, Example, Split, Transcript
from autoquant.task import task as named_task
from autoquant.tasks.argument_checks import check_whole
from autoquant.tasks.model_source import device_of
from autoquant.tasks.speech.alphabet import BLANK, ENGLISH, Alphabet
from autoquant.tasks.speech.arguments import check_options, path_of, taken
from autoquant.tasks.speech.augmentation import Augmentation
from autoquant.tasks.speech.corpora.corpus import SpeechSplit
from autoquant.tasks.speech.decoding import BeamSearch, beam_search, greedy
from autoquant.tasks.speech.error_rates import ErrorRates, error_rates
from autoquant.tasks.speech.features import Features
from autoquant.tasks.speech.front import ASSET, Front
from autoquant.tasks.speech.models import MODELS
from autoquant.tasks.speech.sound import BrokenFile, read_sound
from autoquant.tasks.speech.speech_data import SpeechBatch, SpeechData
from autoquant.tasks.task_file import task_file

METRICS = ("wer", "cer", "loss")


class SpeechTask:
    """Speech recognition on a corpus.

    Features are computed when they are first needed, and kept. Training batches have utterances of
    similar length.

    Args:
        data: of the corpus.
        build: makes a new model from the entries of a frame and the number of characters.
        metric: "wer" (word error rate), "cer" (character error rate) or "loss" (CTC, in nats a
            character).
        beam: how transcripts are found; None: greedily.
        preferred: settings that suit the task; nothing when None.

    Raises:
        UserError: an argument is not as described.
    """

    name = "speech"
    direction: Direction = "minimize"
    preferred: Search | None = None

    def __init__(
        self,
        data: SpeechData,
        build: Callable[[int, int], nn.Module],
        *,
        metric: str = "wer",
        beam: BeamSearch | None = None,
        preferred: Search | None = None,
    ) -> None:
        if metric not in METRICS:
            raise UserError(f"metric must be one of {', '.join(METRICS)}, got {shown(metric)}")
        self.metric, self._data, self._build, self._beam = metric, data, build, beam
        if preferred is not None:
            self.preferred = preferred

    @property
    def front(self) -> Front:
        """What a recogniser needs beside its weights: restored, or that of the training split."""
        data = self._data
        return Front(data.alphabet, data.features, data.normalization)

    def build_model(self) -> nn.Module:
        """See ``Task.build_model``."""
        return self._build(self._data.features.entries, len(self._data.alphabet))

    def assets(self) -> dict[str, bytes]:
        """See ``SupportsAssets.assets``: alphabet, features and their normalization."""
        return {ASSET: self.front.encode()}

    def restore_assets(self, assets: Mapping[str, bytes]) -> None:
        """See ``SupportsAssets.restore_assets``; without them the training split is read.

        Args:
            assets: of a packed file.

        Raises:
            UserError: they are damaged.
        """
        stored = assets.get(ASSET)
        self._data.restore(None if stored is None else Front.decode(stored))
        if self._beam is not None:
            self._beam = replace(self._beam, alphabet=self._data.alphabet)

    def checks(self, model: nn.Module) -> Iterator[tuple[str, Callable[[], Any]]]:
        """See ``SupportsChecks``: the splits must have utterances.

        Args:
            model: the float model.
        """
        splits: tuple[SpeechSplit, ...] = ("train", "valid", "test")
        for split in splits:
            yield f"{split} must have utterances", partial(self._data.split, split)

    def notes(self) -> list[str]:
        """See ``SupportsChecks``: files that are left out."""
        return self._data.notes

    # --- training --------------------------------------------------------------------------------

    def steps_per_epoch(self) -> int:
        """See ``Task.steps_per_epoch``."""
        return self._data.steps_per_epoch()

    def batches(self, seed: int, start: int = 0) -> Iterator[SpeechBatch]:
        """See ``Task.batches``.

        Args:
            seed: of the order.
            start: number of the first batch, from 0.
        """
        return self._data.training_batches(seed, start)

    def loss(self, model: nn.Module, batch: SpeechBatch, carry: Any) -> tuple[Tensor, None]:
        """The CTC loss in nats a character, averaged over the utterances; nothing is carried.

        Args:
            model: a float or a fake-quantized model.
            batch: what ``batches`` gave.
            carry: not used.
        """
        return _ctc(self._log_probs(model, batch), batch), None

    def distillation_loss(
        self, model: nn.Module, teacher: nn.Module, batch: SpeechBatch, carry: Any, alpha: float
    ) -> tuple[Tensor, None]:
        """A mix of the CTC loss and the cross-entropy against the teacher's frames.

        The teacher's part is the mean over all frames, multiplied by the frames a character, so
        that both parts are in nats a character (frame-wise distillation: Takashima et al. 2018,
        section 3.1).

        Args:
            model: the student.
            teacher: the float model, in eval mode.
            batch: what ``batches`` gave.
            carry: not used.
            alpha: weight of the teacher.
        """
        with torch.no_grad():
            expected = self._log_probs(teacher, batch).exp()  # [B, T, C]
        log_probs = self._log_probs(model, batch)
        inside = _inside(batch, log_probs)
        taught = -(expected * log_probs).sum(-1)[inside].sum() / batch.target_lengths.sum()
        return alpha * taught + (1 - alpha) * _ctc(log_probs, batch), None

    def _log_probs(self, model: nn.Module, batch: SpeechBatch) -> Tensor:
        """Log probabilities of the characters in every frame, [B, T, C].

        Args:
            model: of any kind.
            batch: of any split.
        """
        logits, _ = model(batch.frames.to(device_of(model)), batch.lengths)
        return F.log_softmax(logits, -1)

    # --- scoring ---------------------------------------------------------------------------------

    def score(self, model: nn.Module, split: Split) -> float:
        """The metric on a split.

        Args:
            model: in eval mode.
            split: "probe", "valid" or "test".
        """
        if self.metric == "loss":
            return self.ctc_loss(model, split)
        rates = self.error_rates(model, split)
        return rates.wer if self.metric == "wer" else rates.cer

    @torch.no_grad()
    def ctc_loss(self, model: nn.Module, split: Split) -> float:
        """The CTC loss of a split, in nats a character.

        Args:
            model: in eval mode.
            split: "probe", "valid" or "test".
        """
        total = characters = 0.0
        for batch in self._data.scored_batches(split):
            total += float(_ctc(self._log_probs(model, batch), batch, "sum"))
            characters += float(batch.target_lengths.sum())
        return total / characters

    @torch.no_grad()
    def error_rates(self, model: nn.Module, split: Split) -> ErrorRates:
        """Word and character errors of each utterance of a split, the shortest utterance first.

        Args:
            model: in eval mode.
            split: "probe", "valid" or "test".
        """
        references: list[str] = []
        transcripts: list[str] = []
        for batch in self._data.scored_batches(split):
            references += batch.texts
            transcripts += self.transcripts(model, batch.frames, batch.lengths)
        return error_rates(references, transcripts)

    def transcripts(self, model: nn.Module, frames: Tensor, lengths: Tensor) -> list[str]:
        """What a model recognises.

        Args:
            model: in eval mode.
            frames: [B, T, entries], normalized and with context.
            lengths: frames of each utterance, [B].
        """
        logits, _ = model(frames.to(device_of(model)), lengths)
        if self._beam is not None:
            return self._beam.decode(logits, lengths)
        return greedy(logits, lengths, self._data.alphabet)

    @torch.no_grad()
    def transcribe(self, model: nn.Module, path: Path) -> Transcript:
        """See ``Transcribes.transcribe``.

        Args:
            model: in eval mode.
            path: of a sound.

        Raises:
            UserError: it holds no sound, or is damaged.
        """
        front = self.front
        try:
            sound = read_sound(path, front.features.rate)
            frames = front.frames(front.features.of_sound(sound.samples))
        except BrokenFile as error:
            raise UserError(f"audio must be a file with sound, got '{path}': {error}") from error
        (text,) = self.transcripts(model, frames, torch.tensor([frames.shape[1]]))
        return Transcript(text, sound.notice)

    def example(self) -> Example:
        """The first training batch, cut to its shortest utterance; MACs are for one frame."""
        batch = next(self._data.training_batches(0))
        lengths = torch.full_like(batch.lengths, int(batch.lengths.min()))
        frames = batch.frames[:, : int(lengths[0])]
        return Example((frames, lengths), frames.shape[:2].numel(), "frame")


def _ctc(log_probs: Tensor, batch: SpeechBatch, reduction: str = "mean") -> Tensor:
    """The CTC loss (Graves et al. 2006).

    Args:
        log_probs: [B, T, C].
        batch: has the targets.
        reduction: "mean" divides each utterance's loss by its characters, then takes the mean.
    """
    return F.ctc_loss(
        log_probs.transpose(0, 1),
        batch.targets.to(log_probs.device),
        batch.lengths,
        batch.target_lengths,
        blank=BLANK,
        reduction=reduction,
        zero_infinity=True,
    )


def _inside(batch: SpeechBatch, values: Tensor) -> Tensor:
    """Which frames belong to an utterance, [B, T].

    Args:
        batch: has the lengths.
        values: [B, T, ...].
    """
    positions = torch.arange(values.shape[1], device=values.device)
    return positions < batch.lengths.to(values.device)[:, None]


@named_task("speech")
def speech(
    data_dir: str | Path,
    layout: str = "auto",
    model: str = "deep_speech",
    *,
    metric: str = "wer",
    alphabet: str = ENGLISH,
    batch_size: int = 16,
    held_out: int = 10,
    probe: int = 100,
    cache: str | Path | None = None,
    beam: int = 0,
    language_model: str | Path | None = None,
    alpha: float = 0.5,
    beta: float = 1.5,
    closed_vocabulary: bool = False,
    preferred: Search | None = None,
    **options: Any,
) -> SpeechTask:
    """The task of speech recognition.

    Args:
        data_dir: folder of the corpus.
        layout: of its files: librispeech, tedlium, common_voice, sphinx, plain, or auto.
        model: deep_speech or deep_speech_2.
        metric: wer, cer or loss.
        alphabet: characters that are written, the space among them.
        batch_size: utterances of a batch, at most.
        held_out: training speakers that are the valid split, where the corpus has none.
        probe: utterances of the valid split that are scored in the middle of a run.
        cache: folder of computed features; None: they are kept in memory only.
        beam: prefixes of the beam search; 0: greedy decoding.
        language_model: ARPA file of the beam search's words; None: none.
        alpha: weight of the language model.
        beta: added for each word.
        closed_vocabulary: whether the beam search writes words of the language model only.
        preferred: settings that suit the task; those of conf/task/speech.yaml when None.
        options: fields of ``Features`` and of ``Augmentation``, and arguments of the model; their
            defaults are in conf/task/speech.yaml.

    Raises:
        UserError: an argument is not as described.
    """
    if model not in MODELS:
        raise UserError(f"model must be one of {', '.join(MODELS)}, got {shown(model)}")
    check_whole(1, batch_size=batch_size, held_out=held_out, probe=probe)
    features = Features(**taken(options, Features))
    augmentation = Augmentation(**taken(options, Augmentation))
    letters = Alphabet(alphabet)
    check_options(model, options)
    data = SpeechData(
        path_of("data_dir", data_dir, "folder"),
        layout=layout,
        features=features,
        alphabet=letters,
        cache=None if cache is None else path_of("cache", cache, "folder"),
        batch_size=batch_size,
        held_out=held_out,
        probe=probe,
        augmentation=augmentation,
    )
    words = None if language_model is None else path_of("language_model", language_model, "file")
    search = beam_search(letters, beam, words, alpha, beta, closed=closed_vocabulary)

    def build(inputs: int, outputs: int) -> nn.Module:
        return MODELS[model](inputs, outputs, **options)

    preferred = task_file("speech").preferred if preferred is None else preferred
    return SpeechTask(data, build, metric=metric, beam=search, preferred=preferred)
