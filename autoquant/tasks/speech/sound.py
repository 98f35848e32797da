"""Sound: samples of a file at the rate that the features need."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np
import numpy.typing as npt

from autoquant.errors import first_line
from autoquant.tasks.speech.requirements import need

Samples = npt.NDArray[np.float32]
"""Mono sound, [samples], in [-1, 1]."""


UNKNOWN_LENGTH = 0x7FFF0000
"""Lengths in a header from here on say that it was not known."""


class BrokenFile(Exception):
    """A file of a corpus that cannot be used; the message says why."""


@dataclass(frozen=True)
class Sound:
    """Samples of a file.

    Attributes:
        samples: mono, in [-1, 1].
        rate: samples a second.
        notice: how they were converted, in one line; empty where they were not.
    """

    samples: Samples
    rate: int
    notice: str = ""


def read_bytes(path: Path) -> bytes:
    """The content of a file, or of a member of a zip archive ("feat.zip/folder/name").

    Args:
        path: of the file.

    Raises:
        BrokenFile: it cannot be read.
    """
    try:
        for parent in path.parents:
            if parent.suffix == ".zip" and parent.is_file():
                with ZipFile(parent) as archive:
                    return archive.read(path.relative_to(parent).as_posix())
        return path.read_bytes()
    except (OSError, BadZipFile, KeyError) as error:
        raise BrokenFile(first_line(error)) from error


def read_sound(path: Path, rate: int, start: float = 0.0, end: float | None = None) -> Sound:
    """The samples of a file, mono, at a rate.

    Args:
        path: of a file that libsndfile reads: wav, FLAC, SPH, Ogg, MP3.
        rate: samples a second that are wanted; other rates are converted by linear-phase
            resampling (scipy's ``resample_poly``).
        start: seconds that are left out at the beginning.
        end: seconds at which the samples end; None: at the end of the file.

    Raises:
        BrokenFile: it holds no sound, or is damaged.
        UserError: soundfile is not installed.
    """
    need("soundfile")
    import soundfile  # type: ignore[import-untyped, unused-ignore]

    content = read_bytes(path)
    if not content:
        raise BrokenFile("the file is empty")
    _refuse_truncated(content)
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            own_rate, channels = file.samplerate, file.channels
            file.seek(min(round(start * own_rate), file.frames))
            count = -1 if end is None else max(0, round((end - start) * own_rate))
            found = file.read(count, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise BrokenFile(error.error_string.rstrip(".")) from error
    except RuntimeError as error:
        raise BrokenFile(first_line(error)) from error
    if not len(found):
        raise BrokenFile("there are no samples")
    samples: Samples = found.mean(1, dtype=np.float32)
    if not np.isfinite(samples).all():
        raise BrokenFile("samples must be finite numbers")
    changes = [f"{channels} channels to one"] if channels > 1 else []
    if own_rate != rate:
        changes.append(f"{own_rate} to {rate} samples a second")
        samples = _resampled(samples, own_rate, rate)
    return Sound(samples, rate, ", ".join(changes))


def _refuse_truncated(content: bytes) -> None:
    """Raise BrokenFile where the header of a wav promises more bytes than there are.

    Programs that write into a pipe cannot know the length, and promise the largest one.

    Args:
        content: of the file.
    """
    promised = int.from_bytes(content[4:8], "little") + 8
    if content[:4] == b"RIFF" and len(content) < promised < UNKNOWN_LENGTH:
        raise BrokenFile(f"the header promises {promised} bytes, there are {len(content)}")


def _resampled(samples: Samples, rate: int, wanted: int) -> Samples:
    """Samples at another rate.

    Args:
        samples: [samples].
        rate: of the samples.
        wanted: the other one.
    """
    from scipy.signal import resample_poly

    factor = np.gcd(rate, wanted)
    result: Samples = resample_poly(samples, wanted // factor, rate // factor).astype(np.float32)
    return result
