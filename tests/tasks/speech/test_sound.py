from __future__ import annotations

from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

from autoquant.tasks.speech.sound import BrokenFile, read_bytes, read_sound

soundfile = pytest.importorskip("soundfile")


def tone(rate: int, seconds: float = 0.5) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate)


FORMATS = {"wav": "WAV", "flac": "FLAC", "ogg": "OGG", "mp3": "MP3", "sph": "NIST"}


@pytest.mark.parametrize("ending", FORMATS)
def test_formats(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{ending}"
    soundfile.write(path, tone(16_000), 16_000, format=FORMATS[ending])
    sound = read_sound(path, 16_000)
    assert (sound.rate, sound.notice) == (16_000, "")
    middle = slice(1000, 7000)  # an encoder may add samples at the ends, and shift them
    spectrum = np.abs(np.fft.rfft(sound.samples[middle]))
    assert spectrum.argmax() == round(440 * 6000 / 16_000)
    assert np.abs(sound.samples[middle]).max() == pytest.approx(0.5, abs=0.05)


def test_rates_and_channels_are_converted(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([tone(44_100), 0 * tone(44_100)], 1), 44_100)
    sound = read_sound(path, 16_000)
    assert sound.notice == "2 channels to one, 44100 to 16000 samples a second"
    inner = slice(200, -200)
    np.testing.assert_allclose(sound.samples[inner], tone(16_000)[inner] / 2, atol=0.01)


def test_a_part_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    samples = np.linspace(-0.5, 0.5, 16_000)
    soundfile.write(path, samples, 16_000, subtype="FLOAT")
    sound = read_sound(path, 16_000, 0.25, 0.75)
    np.testing.assert_allclose(sound.samples, samples[4000:12_000], atol=1e-6)
    with pytest.raises(BrokenFile, match="there are no samples"):
        read_sound(path, 16_000, 2.0, 3.0)


def test_a_truncated_wav_is_broken_and_one_from_a_pipe_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(16_000), 16_000)
    content = path.read_bytes()
    path.write_bytes(content[:5000])
    with pytest.raises(BrokenFile, match=f"promises {len(content)} bytes, there are 5000"):
        read_sound(path, 16_000)
    unknown = b"\xff\xff\xff\xff"
    data = content.index(b"data") + 4
    path.write_bytes(content[:4] + unknown + content[8:data] + unknown + content[data + 4 :])
    assert len(read_sound(path, 16_000).samples) == 8000


BROKEN = {"empty": (b"", "the file is empty"), "text": (b"words " * 20, "Format not recognised")}


@pytest.mark.parametrize("case", BROKEN)
def test_files_without_sound(case: str, tmp_path: Path) -> None:
    content, error = BROKEN[case]
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(BrokenFile, match=f"^{error}$"):
        read_sound(tmp_path / "a.wav", 16_000)


def test_members_of_an_archive(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "feat.zip", "w") as archive:
        archive.writestr("a/b.mfc", b"12")
    assert read_bytes(tmp_path / "feat.zip/a/b.mfc") == b"12"
    with pytest.raises(BrokenFile, match="no item named"):
        read_bytes(tmp_path / "feat.zip/a/c.mfc")
    with pytest.raises(BrokenFile, match="No such file"):
        read_bytes(tmp_path / "other/a.mfc")
    (tmp_path / "bad.zip").write_bytes(b"x")
    with pytest.raises(BrokenFile, match="not a zip file"):
        read_bytes(tmp_path / "bad.zip/a")
