"""Utterances varied in tempo and voice, and masked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from autoquant.errors import UserError
from autoquant.tasks.speech.augmentation import Augmentation
from autoquant.tasks.speech.features import Features, Frames

NOTHING: dict[str, Any] = {"speed_change": 0.0, "tract_change": 0.0, "masks": 0, "mask_frames": 0}
FEATURES = Features(cepstra=13, lifter=0)


def utterance(frames: int) -> Frames:
    return np.random.default_rng(frames).normal(size=(frames, 13)).astype(np.float32)


def test_nothing_changes_without_variations() -> None:
    frames, still = utterance(30), Augmentation(**NOTHING)
    np.testing.assert_array_equal(still.vary(frames, FEATURES, np.random.default_rng(0)), frames)
    np.testing.assert_array_equal(still.mask(frames, np.random.default_rng(0)), frames)


@pytest.mark.parametrize("frames", [1, 2, 7, 100])
def test_tempo_changes_the_length_within_its_bounds(frames: int) -> None:
    changed = Augmentation(**NOTHING | {"speed_change": 0.2})
    varied = [
        changed.vary(utterance(frames), FEATURES, np.random.default_rng(seed)) for seed in range(40)
    ]
    lengths = [len(each) for each in varied]
    assert max(1, round(frames / 1.2)) <= min(lengths)
    assert max(lengths) <= round(frames / 0.8)
    assert frames < 3 or len(set(lengths)) > 1
    for each in varied:  # the ends stay where they are
        np.testing.assert_allclose(each[0], utterance(frames)[0], atol=1e-6)
        if len(each) > 1:
            np.testing.assert_allclose(each[-1], utterance(frames)[-1], atol=1e-6)


def test_a_straight_line_stays_straight_at_another_tempo() -> None:
    line = np.arange(50, dtype=np.float32)[:, None].repeat(13, axis=1)
    changed = Augmentation(**NOTHING | {"speed_change": 0.3})
    varied = changed.vary(line, FEATURES, np.random.default_rng(2))
    assert len(varied) != 50
    np.testing.assert_allclose(varied[:, 0], np.linspace(0, 49, len(varied)), atol=1e-4)


@pytest.mark.parametrize("lifter", [0, 22])
def test_another_voice_moves_the_spectrum(lifter: int) -> None:
    """A peak of the mel spectrum, known by 40 cepstra, is found at another mel."""
    features = Features(cepstra=40, lifter=lifter)
    mels = np.arange(40)
    spectrum = np.exp(-(((mels - 20) / 4) ** 2))
    cosines = np.array([np.cos(np.pi * k * (mels + 0.5) / 40) for k in range(40)])
    cosines *= np.sqrt([[1 / 40], *[[2 / 40]] * 39])
    weights = np.ones(40) if lifter == 0 else 1 + lifter / 2 * np.sin(np.pi * mels / lifter)
    frames = (weights * (cosines @ spectrum))[None].astype(np.float32)
    changed = Augmentation(**NOTHING | {"tract_change": 0.2})
    peaks = []
    for seed in range(20):
        varied = changed.vary(frames, features, np.random.default_rng(seed))[0]
        assert varied[0] == frames[0, 0]  # the energy
        _, voice = np.random.default_rng(seed).uniform(-1, 1, 2)
        factor = 1 + 0.2 * voice
        peak = int(np.argmax(cosines[1:].T @ (varied / weights)[1:]))
        assert abs(peak - 20 / factor) <= 1
        peaks.append(peak)
    assert min(peaks) < 19
    assert max(peaks) > 21


def test_masks_are_zero_and_not_too_long() -> None:
    masked_share = []
    for seed in range(50):
        changed = Augmentation(**NOTHING | {"masks": 2, "mask_frames": 15})
        frames = utterance(100)
        masked = changed.mask(frames, np.random.default_rng(seed))
        hidden = ~masked.any(axis=1)
        np.testing.assert_array_equal(masked[~hidden], frames[~hidden])
        assert hidden.sum() <= 30
        masked_share.append(hidden.mean())
        short = changed.mask(utterance(4), np.random.default_rng(seed))
        np.testing.assert_array_equal(short, utterance(4))
    assert max(masked_share) > 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"speed_change": 1.0}, r"speed_change must be in \[0, 1\), got 1.0"),
        ({"tract_change": "x"}, r"tract_change must be in \[0, 1\), got 'x'"),
        ({"masks": -1}, "masks must be a whole number from 0 up, got -1"),
        ({"mask_frames": 2.5}, "mask_frames must be a whole number from 0 up, got 2.5"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_settings(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Augmentation(**change)
