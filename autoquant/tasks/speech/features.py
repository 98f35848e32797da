"""Features: mel-frequency cepstra of a sound, with the frames beside each one."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from autoquant.errors import UserError, first_line, shown
from autoquant.tasks.argument_checks import check_whole
from autoquant.tasks.speech.requirements import need
from autoquant.tasks.speech.sound import BrokenFile, Samples

Frames = npt.NDArray[np.float32]
"""Features of an utterance, [T, entries]."""
MEL_FILTERS = 40
LOWEST_HERTZ = 20.0
"""Where the first mel filter begins: Kaldi's default."""
INT16 = 32768.0
"""Kaldi's features are those of 16-bit samples."""


@dataclass(frozen=True)
class Features:
    """How features are computed.

    Attributes:
        cepstra: of a frame, the first one included.
        rate: samples a second.
        window_ms: milliseconds of a window.
        step_ms: milliseconds from one window to the next.
        context: frames on each side that stand beside each frame.
        stride: every how many frames one is kept, its context included.
        lifter: the k-th cepstrum is multiplied by 1 + lifter / 2 sin(pi k / lifter); 0: by 1.
    """

    cepstra: int = 26
    rate: int = 16_000
    window_ms: float = 25.0
    step_ms: float = 10.0
    context: int = 9
    stride: int = 1
    lifter: int = 22

    def __post_init__(self) -> None:
        leasts = {"cepstra": 1, "rate": 1000, "context": 0, "stride": 1, "lifter": 0}
        for name, least in leasts.items():
            check_whole(least, **{name: getattr(self, name)})
        times = (self.step_ms, self.window_ms)
        numbers = all(type(each) in (int, float) for each in times)
        if not numbers or not 0 < self.step_ms <= self.window_ms < math.inf:
            raise UserError(
                f"step_ms must be above 0 and at most window_ms, got {shown(self.step_ms)} of "
                f"{shown(self.window_ms)}"
            )

    @property
    def entries(self) -> int:
        """Entries of a frame that a model sees, its context included."""
        return self.cepstra * (2 * self.context + 1)

    @property
    def mels(self) -> int:
        """Mel filters that the cepstra are computed from."""
        return max(MEL_FILTERS, self.cepstra)

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)

    def of_sound(self, samples: Samples) -> Frames:
        """The cepstra of a sound, [T, cepstra], by kaldi-native-fbank.

        Kaldi's defaults, without dither so that they are the same twice: pre-emphasis of 0.97,
        Povey's window, 40 mel filters, the logarithmic energy in place of the first cepstrum.

        Args:
            samples: mono, at ``rate``.

        Raises:
            BrokenFile: the sound is shorter than one window.
            UserError: kaldi-native-fbank is not installed.
        """
        stream = self.stream()
        frames = np.concatenate([stream.add(samples), stream.finish()])
        if not len(frames):
            raise BrokenFile(f"the sound is shorter than a window of {self.window_ms:g} ms")
        return frames

    def stream(self) -> CepstraStream:
        """The cepstra of a sound that comes in chunks.

        Raises:
            UserError: kaldi-native-fbank is not installed, or cannot compute such features.
        """
        need("kaldi_native_fbank")
        if self._has_empty_filter():  # kaldi-native-fbank before 1.23 takes that silently
            raise self._refused(f"one of {self.mels} mel filters is empty")
        import kaldi_native_fbank  # type: ignore[import-untyped, unused-ignore]

        options = kaldi_native_fbank.MfccOptions()
        options.frame_opts.samp_freq = self.rate
        options.frame_opts.frame_length_ms = self.window_ms
        options.frame_opts.frame_shift_ms = self.step_ms
        options.frame_opts.dither = 0.0
        options.mel_opts.num_bins = self.mels
        options.num_ceps = self.cepstra
        options.cepstral_lifter = float(self.lifter)
        try:
            computer = kaldi_native_fbank.OnlineMfcc(options)
        except (ValueError, RuntimeError) as error:
            raise self._refused(first_line(error)) from error
        return CepstraStream(computer, self)

    def _has_empty_filter(self) -> bool:
        """Whether a mel filter passes no frequency of a window's spectrum, as Kaldi lays them."""
        samples = int(self.rate * 0.001 * self.window_ms)
        padded = 1 << (samples - 1).bit_length()
        frequencies = _mel(np.arange(padded // 2) * self.rate / padded)
        lowest, highest = _mel(np.array([LOWEST_HERTZ, self.rate / 2]))
        edges = np.linspace(lowest, highest, self.mels + 2)
        first_above = np.searchsorted(frequencies, edges[:-2], side="right")
        return bool((np.append(frequencies, np.inf)[first_above] >= edges[2:]).any())

    def _refused(self, reason: str) -> UserError:
        """The error for features that cannot be computed.

        Args:
            reason: why not.
        """
        values = ", ".join(f"{name}={value}" for name, value in self.to_dict().items())
        requirement = "the features must be ones that kaldi-native-fbank computes"
        return UserError(f"{requirement}, got {values}: {reason}")

    def with_context(self, frames: Frames) -> Frames:
        """Each kept frame with its neighbours, [ceil(T / stride), entries]; zeros beyond the ends.

        Args:
            frames: [T, cepstra].
        """
        padded = np.pad(frames, ((self.context, self.context), (0, 0)))
        return np.array(self.windows(padded)[:: self.stride])

    def windows(self, frames: Frames) -> Frames:
        """Each frame that has all neighbours, with them, [T - 2 context, entries].

        Args:
            frames: [T, cepstra].
        """
        width = 2 * self.context + 1
        windows = np.lib.stride_tricks.sliding_window_view(frames, width, axis=0)
        joined: Frames = windows.transpose(0, 2, 1).reshape(len(windows), -1)
        return joined


def _mel(frequencies: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Frequencies in mels, from hertz."""
    mels: npt.NDArray[np.float64] = 1127.0 * np.log1p(frequencies / 700.0)
    return mels


class CepstraStream:
    """The cepstra of a sound that comes in chunks.

    Args:
        computer: kaldi-native-fbank's.
        features: how they are computed.
    """

    def __init__(self, computer: Any, features: Features) -> None:
        self._computer, self._features, self._read = computer, features, 0

    def add(self, samples: Samples) -> Frames:
        """The frames that more sound completes, [T, cepstra].

        Args:
            samples: mono, at the features' rate.
        """
        self._computer.accept_waveform(self._features.rate, (samples * INT16).tolist())
        return self._new_frames()

    def finish(self) -> Frames:
        """The frames that the end of the sound completes, [T, cepstra]."""
        self._computer.input_finished()
        return self._new_frames()

    def _new_frames(self) -> Frames:
        """The frames that have not been read, [T, cepstra]."""
        numbers = range(self._read, self._computer.num_frames_ready)
        self._read = self._computer.num_frames_ready
        frames = [np.array(self._computer.get_frame(number)) for number in numbers]
        empty: Frames = np.zeros((0, self._features.cepstra), np.float32)
        return np.stack(frames) if frames else empty


@dataclass(frozen=True)
class Normalization:
    """Mean and deviation of each cepstrum over the training utterances.

    Attributes:
        mean: [cepstra].
        deviation: [cepstra], above 0.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @classmethod
    def of(cls, frames: list[Frames]) -> Normalization:
        """That of some utterances.

        Args:
            frames: of each utterance, [T, cepstra].
        """
        count = sum(map(len, frames))
        mean = sum(part.sum(0, dtype=np.float64) for part in frames) / count
        square = sum(((part - mean) ** 2).sum(0) for part in frames) / count
        deviation = np.maximum(np.sqrt(square), 1e-6)
        return cls(tuple(np.asarray(mean).tolist()), tuple(deviation.tolist()))

    def __call__(self, frames: Frames) -> Frames:
        """Frames with a mean of 0 and a deviation of 1.

        Args:
            frames: [T, cepstra].
        """
        mean, deviation = (np.array(each, np.float32) for each in (self.mean, self.deviation))
        result: Frames = ((frames - mean) / deviation).astype(np.float32)
        return result
