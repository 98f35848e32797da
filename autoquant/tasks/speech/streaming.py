"""SpeechStream: recognises speech while it is being recorded, chunk by chunk."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from autoquant.errors import UserError, shown
from autoquant.tasks.speech.alphabet import BLANK
from autoquant.tasks.speech.features import Frames
from autoquant.tasks.speech.front import Front
from autoquant.tasks.speech.sound import Samples

TRIED = 32
"""Frames on which a model is tried."""


class SpeechStream:
    """The recognition of one utterance, whose sound comes in chunks of any length.

    The model must not look ahead: its recurrent layers read forwards only. A frame is recognised
    when the frames beside it have come, ``front.features.context`` steps later. The frames that the
    model sees are those of the whole utterance, so the text is that of the whole utterance as well.

    Args:
        model: a packed or a float model, in eval mode; called with (frames, lengths, state), it
            returns (logits, state).
        front: of the model.

    Attributes:
        text: what has been recognised so far.

    Raises:
        UserError: the model looks ahead.
    """

    def __init__(self, model: nn.Module, front: Front) -> None:
        _refuse_looking_ahead(model, front.features.entries)
        self._ended = False
        self._model, self._front = model, front
        self._cepstra = front.features.stream()
        context = front.features.context
        self._waiting: Frames = np.zeros((context, front.features.cepstra), np.float32)
        self._skipped = 0  # frames that are left out before the next one that is kept
        self._state: Any = None
        self._last, self._numbers = BLANK, list[int]()

    @property
    def text(self) -> str:
        return self._front.alphabet.decode(self._numbers)

    def add(self, samples: Samples) -> str:
        """Recognise what can be recognised with more sound.

        Args:
            samples: mono, at ``front.features.rate``.

        Returns:
            the text of the utterance so far.

        Raises:
            UserError: the samples are no mono sound, or come after ``finish``.
        """
        sound: object = samples
        if self._ended:
            raise UserError("samples must come before finish, got some behind it")
        if not isinstance(sound, np.ndarray) or sound.ndim != 1 or sound.dtype.kind != "f":
            raise UserError(f"samples must be an array [samples] of floats, got {shown(sound)}")
        if not np.isfinite(sound).all():
            raise UserError("samples must be finite numbers, got others")
        self._run(self._front.normalization(self._cepstra.add(samples)))
        return self.text

    def finish(self) -> str:
        """Recognise the rest; the text of the whole utterance, also if it is called again."""
        if self._ended:
            return self.text
        self._ended = True
        rest = self._front.normalization(self._cepstra.finish())
        context = self._front.features.context
        behind: Frames = np.zeros((context, rest.shape[1]), np.float32)
        self._run(np.concatenate([rest, behind]))
        return self.text

    @torch.no_grad()
    def _run(self, frames: Frames) -> None:
        """Recognise the frames whose neighbours have come.

        Args:
            frames: normalized cepstra that are new, [T, cepstra].
        """
        features = self._front.features
        self._waiting = np.concatenate([self._waiting, frames])
        ready = len(self._waiting) - 2 * features.context
        if ready <= 0:
            return
        windows = features.windows(self._waiting)[self._skipped :: features.stride]
        self._skipped = (self._skipped - ready) % features.stride
        self._waiting = self._waiting[ready:]
        if not len(windows):
            return
        lengths = torch.tensor([len(windows)])
        inputs = torch.from_numpy(np.array(windows))[None]
        logits, self._state = self._model(inputs, lengths, self._state)
        for number in logits[0].argmax(-1).tolist():
            if number not in (BLANK, self._last):
                self._numbers.append(number)
            self._last = number


@torch.no_grad()
def _refuse_looking_ahead(model: nn.Module, entries: int) -> None:
    """Raise a UserError where earlier outputs of a model depend on later frames.

    Args:
        model: of the stream.
        entries: of a frame.
    """
    frames = torch.linspace(-1, 1, TRIED * entries).reshape(1, TRIED, entries)
    changed = torch.cat([frames[:, : TRIED // 2], -2 * frames[:, TRIED // 2 :]], dim=1)
    lengths = torch.tensor([TRIED])
    outputs = [model(each, lengths, None)[0][:, : TRIED // 2] for each in (frames, changed)]
    if not torch.equal(*outputs):  # equal shapes, so that equal inputs give equal sums
        raise UserError(
            "the model of a stream must not look ahead, got one whose outputs depend on later "
            "frames (bidirectional, or with convolutions)"
        )
