"""Spoken digits: the recordings of the Free Spoken Digit Dataset, and spectra of sounds."""

from __future__ import annotations

import io
import os
import wave
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autoquant.errors import UserError

VARIABLE = "AUTOQUANT_FSDD"
"""Environment variable with the path of recordings.zip."""
RATE = 8000
"""Samples a second."""
Sound = NDArray[np.float32]


@dataclass(frozen=True)
class Recording:
    """One spoken digit.

    Attributes:
        digit: 0 to 9.
        index: number of the recording of this digit by its speaker; 0 to 4 are the test set.
        sound: samples in [-1, 1].
    """

    digit: int
    index: int
    sound: Sound


@cache
def recordings() -> tuple[Recording, ...]:
    """All recordings, in the order of their file names.

    Raises:
        UserError: the environment variable AUTOQUANT_FSDD names no archive of recordings.
    """
    path = Path(os.environ.get(VARIABLE, ""))
    if not path.is_file():
        raise UserError(f"{VARIABLE} must be the path of FSDD's recordings.zip, got '{path}'")
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".wav"))
        return tuple(_read(name, archive.read(name)) for name in names)


def _read(name: str, content: bytes) -> Recording:
    """One recording.

    Args:
        name: of the file, such as recordings/7_jackson_32.wav.
        content: of the file, PCM of 16 bits.
    """
    digit, _, index = Path(name).stem.split("_")
    with wave.open(io.BytesIO(content)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    return Recording(int(digit), int(index), samples.astype(np.float32) / 2**15)


def spectrum(sound: Sound, window: int, hop: int) -> Sound:
    """Magnitudes of a short-time Fourier transform, [frames, window // 2 + 1].

    Args:
        sound: samples, at least ``window``.
        window: samples of a frame, weighted by a Hann window.
        hop: samples from one frame to the next.
    """
    frames = np.lib.stride_tricks.sliding_window_view(sound, window)[::hop]
    return np.abs(np.fft.rfft(frames * np.hanning(window))).astype(np.float32)


def mel_bands(bands: int, window: int) -> Sound:
    """Triangular filters, evenly spaced on the mel scale, [window // 2 + 1, bands].

    Args:
        bands: number of filters.
        window: samples of a frame.
    """
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)  # in Hz
    frequencies = np.fft.rfftfreq(window, 1 / RATE)[:, None]
    rising = (frequencies - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequencies) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
