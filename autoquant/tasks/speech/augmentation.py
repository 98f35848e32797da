"""Augmentation: training utterances varied in tempo and voice, and masked, anew in every epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from autoquant.errors import UserError, shown
from autoquant.tasks.argument_checks import check_whole
from autoquant.tasks.speech.features import Features, Frames

Matrix = npt.NDArray[np.float64]
LONGEST_MASK = 0.2
"""Share of an utterance that one mask covers, at most (Park et al. 2019, section 2)."""


@dataclass(frozen=True)
class Augmentation:
    """How training utterances are varied; 0 leaves a variation out.

    Attributes:
        speed_change: the tempo is multiplied by a number between 1 - this and 1 + this.
        tract_change: mel frequencies are multiplied by a number between 1 - this and 1 + this, as
            another length of the vocal tract does (Jaitly & Hinton 2013, section 3).
        masks: spans of time that are replaced by the mean (Park et al. 2019, section 2).
        mask_frames: frames of a mask, at most.
    """

    speed_change: float = 0.1
    tract_change: float = 0.1
    masks: int = 2
    mask_frames: int = 20

    def __post_init__(self) -> None:
        for name in ("speed_change", "tract_change"):
            value = getattr(self, name)
            if type(value) not in (int, float) or not 0 <= value < 1:
                raise UserError(f"{name} must be in [0, 1), got {shown(value)}")
        check_whole(0, masks=self.masks, mask_frames=self.mask_frames)

    def vary(self, frames: Frames, features: Features, drawn: np.random.Generator) -> Frames:
        """Frames with another tempo and another voice, before they are normalized.

        Args:
            frames: [T, cepstra].
            features: how they were computed.
            drawn: source of random numbers.
        """
        tempo = 1 + self.speed_change * drawn.uniform(-1, 1)
        voice = 1 + self.tract_change * drawn.uniform(-1, 1)
        if self.speed_change:
            frames = _stretched(frames, max(1, round(len(frames) / tempo)))
        if self.tract_change:
            frames = (frames @ _warp(features, voice).T).astype(np.float32)
        return frames

    def mask(self, frames: Frames, drawn: np.random.Generator) -> Frames:
        """Normalized frames with some spans set to zero.

        Args:
            frames: [T, cepstra].
            drawn: source of random numbers.
        """
        longest = min(self.mask_frames, int(LONGEST_MASK * len(frames)))
        masked = frames.copy()
        for _ in range(self.masks):
            length = int(drawn.integers(longest + 1))
            start = int(drawn.integers(len(frames) - length + 1))
            masked[start : start + length] = 0
        return masked


def _stretched(frames: Frames, length: int) -> Frames:
    """Frames interpolated to another number of them, [length, cepstra].

    Args:
        frames: [T, cepstra].
        length: above 0.
    """
    positions = np.linspace(0, len(frames) - 1, length)
    lower = np.minimum(positions.astype(int), max(0, len(frames) - 2))
    upper = np.minimum(lower + 1, len(frames) - 1)
    share = (positions - lower)[:, None].astype(np.float32)
    result: Frames = (1 - share) * frames[lower] + share * frames[upper]
    return result


def _warp(features: Features, factor: float) -> Matrix:
    """The matrix that multiplies the mel frequencies of a spectrum by a factor, in its cepstra.

    The spectrum is known as smoothly as the cepstra describe it. The first cepstrum, the energy,
    is not changed.

    Args:
        features: how the cepstra were computed.
        factor: above 0.
    """
    cosines = _cosines(features.cepstra, features.mels)
    lifted = np.arange(features.cepstra)
    weights = np.ones(features.cepstra)
    if features.lifter:
        weights += features.lifter / 2 * np.sin(math.pi * lifted / features.lifter)
    mels = np.arange(features.mels)
    spectra = cosines / weights[:, None]  # of each cepstrum alone
    warped = np.stack([np.interp(mels * factor, mels, spectrum) for spectrum in spectra])
    matrix: Matrix = weights[:, None] * (cosines @ warped.T)
    matrix[0] = np.eye(features.cepstra)[0]
    return matrix


@lru_cache(maxsize=4)
def _cosines(cepstra: int, mels: int) -> Matrix:
    """The orthonormal cosine transform, [cepstra, mels]."""
    angles = np.outer(np.arange(cepstra), np.arange(mels) + 0.5) * math.pi / mels
    cosines: Matrix = np.cos(angles) * math.sqrt(2 / mels)
    cosines[0] /= math.sqrt(2)
    return cosines
