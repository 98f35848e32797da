"""FeatureStore: the cepstra of utterances, computed once and kept in memory and on the disk."""

from __future__ import annotations

import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from autoquant.errors import UserError
from autoquant.files import make_folder, write_bytes
from autoquant.tasks.speech.features import Features, Frames
from autoquant.tasks.speech.sound import BrokenFile, read_bytes, read_sound
from autoquant.tasks.speech.utterance import Utterance

SPHINX_HEADER = 4
"""Bytes of a .mfc file before the numbers: how many there are."""


class FeatureStore:
    """Cepstra by utterance.

    Args:
        features: how they are computed.
        folder: where they are kept for the next program; None: nowhere.

    Raises:
        UserError: ``folder`` is a file.
    """

    def __init__(self, features: Features, folder: Path | None = None) -> None:
        if folder is not None and folder.exists() and not folder.is_dir():
            raise UserError(f"cache must be a folder, got the file '{folder}'")
        self.features, self.folder = features, folder
        self._frames: dict[Utterance, Frames] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Without what was loaded."""
        return {**vars(self), "_frames": {}}

    def load(self, utterances: list[Utterance], threads: int = 4) -> list[tuple[Utterance, str]]:
        """Compute or read the cepstra of utterances.

        Args:
            utterances: of one split.
            threads: that read files side by side.

        Returns:
            the utterances that are broken, and why.
        """
        missing = [u for u in utterances if u not in self._frames]
        broken = []
        with ThreadPoolExecutor(threads) as pool:
            for utterance, found in zip(missing, pool.map(self._loaded, missing), strict=True):
                if isinstance(found, str):
                    broken.append((utterance, found))
                else:
                    self._frames[utterance] = found
        return broken

    def __getitem__(self, utterance: Utterance) -> Frames:
        """The cepstra of an utterance that was loaded, [T, cepstra]."""
        return self._frames[utterance]

    def _loaded(self, utterance: Utterance) -> Frames | str:
        """The cepstra of an utterance, or why it has none."""
        try:
            return self._cached(utterance)
        except BrokenFile as error:
            return str(error)

    def _cached(self, utterance: Utterance) -> Frames:
        """The cepstra of an utterance, from the folder where it has them."""
        if self.folder is None or utterance.path.suffix in (".mfc", ".npy"):
            return self._computed(utterance)
        path = self.folder / f"{self._key(utterance)}.npy"
        if path.is_file():
            try:
                return _array(path.read_bytes())
            except BrokenFile:
                path.unlink()
        frames = self._computed(utterance)
        buffer = io.BytesIO()
        np.save(buffer, frames)
        make_folder(self.folder)
        write_bytes(path, buffer.getvalue())
        return frames

    def _computed(self, utterance: Utterance) -> Frames:
        """The cepstra of an utterance, read or computed."""
        path, wanted = utterance.path, self.features.cepstra
        if path.suffix == ".mfc":
            return _checked(sphinx_frames(read_bytes(path), wanted), wanted)
        if path.suffix == ".npy":
            return _checked(_array(read_bytes(path)), wanted)
        sound = read_sound(path, self.features.rate, utterance.start, utterance.end)
        return self.features.of_sound(sound.samples)

    def _key(self, utterance: Utterance) -> str:
        """What the cepstra depend on, as a name of a file."""
        try:
            status = utterance.path.stat()
        except OSError as error:
            raise BrokenFile(str(error)) from error
        features = self.features
        parts = (
            str(utterance.path.resolve()),
            *(status.st_size, status.st_mtime_ns, utterance.start, utterance.end),
            *(features.cepstra, features.rate, features.window_ms, features.step_ms),
            features.lifter,
        )
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def sphinx_frames(content: bytes, cepstra: int) -> Frames:
    """The cepstra of a .mfc file, [T, cepstra]: a big-endian count, then as many big-endian floats.

    Args:
        content: of the file.
        cepstra: of a frame.

    Raises:
        BrokenFile: the count is not that of the numbers.
    """
    count = int.from_bytes(content[:SPHINX_HEADER], "big")
    if len(content) != SPHINX_HEADER + 4 * count or not count or count % cepstra:
        numbers = max(0, len(content) - SPHINX_HEADER) // 4
        raise BrokenFile(f"{count} numbers are promised, {numbers} are there, {cepstra} a frame")
    values = np.frombuffer(content[SPHINX_HEADER:], ">f4").astype(np.float32)
    return values.reshape(-1, cepstra)


def _array(content: bytes) -> Frames:
    """An array that numpy wrote; no code of it is run."""
    try:
        found = np.load(io.BytesIO(content), allow_pickle=False)
        array: Frames = np.asarray(found, dtype=np.float32)
    except (ValueError, EOFError, OSError) as error:
        raise BrokenFile(f"it is no array: {error}") from error
    return array


def _checked(frames: Frames, cepstra: int) -> Frames:
    """Frames, if they have the right shape and are finite."""
    if frames.ndim != 2 or frames.shape[1] != cepstra or not len(frames):
        raise BrokenFile(f"features must be [T, {cepstra}], got {list(frames.shape)}")
    if not np.isfinite(frames).all():
        raise BrokenFile("features must be finite numbers")
    return frames
