from __future__ import annotations

import numpy as np
import pytest

from autoquant.errors import UserError
from autoquant.tasks.speech.features import Features, Normalization
from autoquant.tasks.speech.sound import BrokenFile

pytest.importorskip("kaldi_native_fbank")


def test_frames_of_a_second() -> None:
    features = Features()
    samples = np.random.default_rng(0).standard_normal(16_000).astype(np.float32) / 10
    frames = features.of_sound(samples)
    assert frames.shape == (1 + (1000 - 25) // 10, 26)
    assert frames.dtype == np.float32
    np.testing.assert_array_equal(frames, features.of_sound(samples))


def test_cepstra_are_those_of_a_slow_computation() -> None:
    """Kaldi's definition, written out: windows, power spectrum, mel filters, cosines, lifter."""
    samples = np.random.default_rng(1).standard_normal(4000) / 10
    found = Features(cepstra=13).of_sound(samples.astype(np.float32))
    for number in (0, 7):
        window = samples[number * 160 : number * 160 + 400] * 32768
        window = window - window.mean()
        energy = np.log((window**2).sum())
        window = window - 0.97 * np.concatenate([window[:1], window[:-1]])
        window = window * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)) ** 0.85
        power = np.abs(np.fft.rfft(window, 512)) ** 2
        mel = lambda hertz: 1127 * np.log(1 + hertz / 700)  # noqa: E731
        edges = np.linspace(mel(20), mel(8000), 42)
        bins = mel(np.arange(256) * 16_000 / 512)
        rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
        falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
        logs = np.log(np.maximum(0, np.minimum(rising, falling)) @ power[:256])
        angles = np.pi / 40 * np.outer(np.arange(13), np.arange(40) + 0.5)
        cepstra = np.sqrt(2 / 40) * np.cos(angles) @ logs
        cepstra *= 1 + 11 * np.sin(np.pi * np.arange(13) / 22)
        np.testing.assert_allclose(found[number, 1:], cepstra[1:], atol=0.01)
        assert found[number, 0] == pytest.approx(energy, abs=1e-3)


def has_empty_filter(features: Features) -> bool:
    """By kaldi-native-fbank: an error, or in older versions the least energy in noise."""
    import kaldi_native_fbank

    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.samp_freq = features.rate
    options.frame_opts.frame_length_ms = features.window_ms
    options.frame_opts.dither = 0.0
    options.mel_opts.num_bins = features.mels
    try:
        computer = kaldi_native_fbank.OnlineFbank(options)
    except (ValueError, RuntimeError):
        return True
    noise = np.random.default_rng(0).standard_normal(features.rate)
    computer.accept_waveform(features.rate, noise.tolist())
    energies = np.array(computer.get_frame(0))
    return bool((energies <= np.log(np.finfo(np.float32).eps)).any())


@pytest.mark.parametrize("window_ms", [10.0, 25.0, 64.0])
@pytest.mark.parametrize("rate", [1000, 2000, 4000, 8000, 11_025, 16_000])
@pytest.mark.parametrize("cepstra", [26, 50])
def test_features_with_an_empty_mel_filter_are_refused(
    cepstra: int, rate: int, window_ms: float
) -> None:
    features = Features(cepstra=cepstra, rate=rate, window_ms=window_ms)
    if not has_empty_filter(features):
        features.stream()
        return
    with pytest.raises(UserError, match=f"one of {features.mels} mel filters is empty"):
        features.stream()


@pytest.mark.parametrize("chunks", [[16_000], [1, 399, 8000, 7600], [160] * 100])
def test_chunks_give_the_same_frames(chunks: list[int]) -> None:
    samples = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    stream, begin, parts = Features().stream(), 0, []
    for length in chunks:
        parts.append(stream.add(samples[begin : begin + length]))
        begin += length
    parts.append(stream.finish())
    np.testing.assert_array_equal(np.concatenate(parts), Features().of_sound(samples))


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("context", [0, 1, 4])
def test_context_is_that_of_a_loop(context: int, stride: int) -> None:
    features = Features(cepstra=3, context=context, stride=stride)
    frames = np.arange(21, dtype=np.float32).reshape(7, 3)
    expected = []
    for middle in range(0, 7, stride):
        beside = range(middle - context, middle + context + 1)
        expected.append([x for i in beside for x in (frames[i] if 0 <= i < 7 else [0, 0, 0])])
    found = features.with_context(frames)
    np.testing.assert_array_equal(found, np.array(expected, np.float32))
    assert found.shape[1] == features.entries


def test_normalized_frames() -> None:
    drawn = np.random.default_rng(0)
    frames = [
        (drawn.standard_normal((n, 2)) * [2, 5] + [7, -3]).astype(np.float32) for n in (30, 9)
    ]
    normalize = Normalization.of(frames)
    joined = np.concatenate([normalize(part) for part in frames])
    np.testing.assert_allclose(joined.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(joined.std(0), 1, atol=1e-5)
    constant = Normalization.of([np.ones((4, 1), np.float32)])
    assert constant(np.ones((1, 1), np.float32)) == 0


def test_a_sound_that_is_too_short() -> None:
    with pytest.raises(BrokenFile, match="shorter than a window of 25 ms"):
        Features().of_sound(np.zeros(399, np.float32))


WRONG = {
    "cepstra": (0, "cepstra must be a whole number from 1 up, got 0"),
    "rate": (16e3, "rate must be a whole number from 1000 up"),
    "context": (-1, "context must be a whole number from 0 up"),
    "stride": (0, "stride must be"),
    "step_ms": (30.0, "step_ms must be above 0 and at most window_ms, got 30.0 of 25.0"),
}


@pytest.mark.parametrize("name", WRONG)
def test_features_that_are_refused(name: str) -> None:
    value, error = WRONG[name]
    with pytest.raises(UserError, match=error):
        Features(**{name: value})  # type: ignore[arg-type]
