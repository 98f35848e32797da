"""Strings of spoken digits, split by recording and by speaker."""

from __future__ import annotations

import io
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

from studies.speech.digit_strings import RATE, WORDS, split_of, write_corpus

soundfile = pytest.importorskip("soundfile")


def test_a_recording_is_in_one_split() -> None:
    official = [split_of("theo", index, by_speaker=False) for index in range(50)]
    assert official == ["test"] * 5 + ["valid"] * 5 + ["train"] * 40
    names = {name: split_of(name, 3, by_speaker=True) for name in ("george", "nicolas", "theo")}
    assert names == {"george": "train", "nicolas": "valid", "theo": "test"}


@pytest.mark.parametrize("by_speaker", [False, True], ids=["recordings", "speakers"])
def test_strings_are_of_one_speaker_and_say_what_is_written(
    by_speaker: bool, tmp_path: Path
) -> None:
    """Each recording is a constant that tells its digit."""
    with ZipFile(tmp_path / "recordings.zip", "w") as archive:
        for speaker in ("george", "nicolas", "theo"):
            for digit in range(10):
                for index in (0, 1, 6, 20):
                    buffer = io.BytesIO()
                    samples = np.full(400, (digit + 1) / 20, np.float32)
                    soundfile.write(buffer, samples, RATE, format="WAV")
                    name = f"recordings/{digit}_{speaker}_{index}.wav"
                    archive.writestr(name, buffer.getvalue())
    write_corpus(tmp_path / "recordings.zip", tmp_path / "corpus", by_speaker=by_speaker)
    texts = sorted((tmp_path / "corpus").rglob("*.txt"))
    folders = {path.parent.relative_to(tmp_path / "corpus").as_posix() for path in texts}
    assert len(folders) == (3 if by_speaker else 9)
    for path in texts:
        samples, _ = soundfile.read(path.with_suffix(".wav"))
        starts = np.flatnonzero((samples[1:] > 0.01) & (samples[:-1] < 0.01)) + 1
        said = [round(20 * samples[start + 5]) - 1 for start in [0, *starts]]
        assert path.read_text().split() == [WORDS[digit] for digit in said]
        assert 3 <= len(said) <= 7
