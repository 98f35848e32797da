"""Splits, batches and left-out files of a corpus; features that are kept on the disk."""

from __future__ import annotations

import pickle
import shutil
import struct
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autoquant.errors import UserError
from autoquant.tasks.speech.alphabet import Alphabet
from autoquant.tasks.speech.augmentation import Augmentation
from autoquant.tasks.speech.feature_store import FeatureStore, sphinx_frames
from autoquant.tasks.speech.features import Features, Normalization
from autoquant.tasks.speech.front import Front
from autoquant.tasks.speech.sound import BrokenFile
from autoquant.tasks.speech.speech_data import SpeechBatch, SpeechData
from autoquant.tasks.speech.utterance import Utterance
from tests.tasks.speech.samples import plain_corpus

pytest.importorskip("kaldi_native_fbank")
FEATURES = Features(cepstra=5, context=1, stride=2)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plain_corpus(tmp_path_factory.mktemp("corpus"), {"train": 30, "dev": 8, "test": 5})


def data_of(folder: Path, cache: Path | None = None, **changes: Any) -> SpeechData:
    options: dict[str, Any] = {"batch_size": 4, "held_out": 2, "probe": 3} | changes
    return SpeechData(
        folder, layout="auto", features=FEATURES, alphabet=Alphabet(), cache=cache, **options
    )


def names(batches: list[SpeechBatch]) -> list[tuple[str, ...]]:
    return [batch.texts for batch in batches]


def test_an_epoch_has_each_utterance_once(corpus: Path) -> None:
    data = data_of(corpus)
    assert data.steps_per_epoch() == 8
    epoch = [*islice(data.training_batches(0), 8)]
    expected = sorted(data.alphabet.normalized(u.text) for u in data.split("train"))
    assert sorted(text for batch in epoch for text in batch.texts) == expected
    assert len(data.split("valid")), len(data.split("test")) == (8, 5)
    assert data.split("probe") == data.split("valid")[:3]


def test_batches_follow_the_seed_and_may_begin_anywhere(corpus: Path) -> None:
    data = data_of(corpus)
    whole = names([*islice(data.training_batches(3), 20)])
    assert names([*islice(data_of(corpus).training_batches(3), 20)]) == whole
    assert names([*islice(data.training_batches(3, 11), 9)]) == whole[11:]
    assert names([*islice(data.training_batches(4), 20)]) != whole
    assert whole[:8] != whole[8:16]


def test_a_batch_has_similar_lengths_and_padded_frames(corpus: Path) -> None:
    data = data_of(corpus)
    for batch in islice(data.training_batches(0), 7):
        assert batch.frames.shape == (len(batch.texts), int(batch.lengths.max()), 15)
        assert int(batch.lengths.min()) > 0.4 * int(batch.lengths.max())
        for row, length in enumerate(batch.lengths.tolist()):
            assert not batch.frames[row, length:].any()
        numbers = [number for text in batch.texts for number in data.alphabet.encode(text)]
        assert batch.targets.tolist() == numbers
        assert batch.target_lengths.tolist() == [*map(len, batch.texts)]


def test_training_utterances_vary_with_the_epoch_and_the_seed_only(corpus: Path) -> None:
    def epochs(seed: int, start: int = 0) -> list[dict[str, torch.Tensor]]:
        batches = [*islice(varied().training_batches(seed, start), 16 - start)]
        frames = [dict(zip(batch.texts, batch.frames, strict=True)) for batch in batches]
        return [
            {t: f for each in frames[a:b] for t, f in each.items()} for a, b in ((0, 8), (8, 16))
        ]

    def varied() -> SpeechData:
        return data_of(corpus, augmentation=Augmentation(masks=1, mask_frames=4))

    first, second = epochs(1)
    text = next(iter(first))
    again, _ = epochs(1)
    other, _ = epochs(2)
    assert torch.equal(first[text], again[text])
    for different in (second, other):
        length = min(len(first[text]), len(different[text]))
        assert not torch.equal(first[text][:length], different[text][:length])
    plain, same = data_of(corpus), varied()
    for one, two in zip(plain.scored_batches("valid"), same.scored_batches("valid"), strict=True):
        assert torch.equal(one.frames, two.frames)


def test_scored_batches_are_those_of_each_split(corpus: Path) -> None:
    data = data_of(corpus)
    for split, count in (("valid", 8), ("probe", 3), ("test", 5)):
        batches = [*data.scored_batches(split)]
        assert sum(len(batch.texts) for batch in batches) == count
        assert names(batches) == names([*data.scored_batches(split)])


def test_speakers_are_held_out_where_there_is_no_valid_split(corpus: Path, tmp_path: Path) -> None:
    for name in ("train", "test"):
        shutil.copytree(corpus / name, tmp_path / name)
    data = data_of(tmp_path, held_out=1)
    heard, held_out = ({u.speaker for u in data.split(name)} for name in ("train", "valid"))
    assert len(heard) == 3
    assert len(held_out) == 1
    assert not heard & held_out
    assert data_of(tmp_path, held_out=1).split("valid") == data.split("valid")
    few = data_of(tmp_path, held_out=4)  # there are no more speakers: utterances are held out
    assert 1 <= len(few.split("valid")) < 30
    assert len(few.split("valid")) + len(few.split("train")) == 30


def test_broken_files_are_left_out_and_counted(corpus: Path, tmp_path: Path) -> None:
    shutil.copytree(corpus, tmp_path / "corpus")
    (first, second, third, *_) = sorted((tmp_path / "corpus/train").rglob("*.wav"))
    first.write_bytes(b"")
    second.with_suffix(".txt").write_text("42")
    third.with_suffix(".txt").write_text("a" * 500)
    data = data_of(tmp_path / "corpus")
    assert len(data.split("train")) == 27
    (note,) = data.notes
    assert note.startswith("train: 3 of 30 utterances are left out: ")
    for path, reason in (
        (first, "the file is empty"),
        (second, "its transcript has no character of the alphabet"),
        (third, "frames for 999 characters and blanks"),
    ):
        assert str(path) in note
        assert reason in note


def test_a_split_without_a_usable_file(corpus: Path, tmp_path: Path) -> None:
    shutil.copytree(corpus, tmp_path / "corpus")
    for path in (tmp_path / "corpus/test").rglob("*.wav"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"test split of '.*' must have utterances, got 5 that can"):
        data_of(tmp_path / "corpus").split("test")
    shutil.rmtree(tmp_path / "corpus/test")
    with pytest.raises(UserError, match=r"must have utterances, got none$"):
        data_of(tmp_path / "corpus").split("test")


def test_equal_names_in_two_splits_are_two_sounds(corpus: Path) -> None:
    data = data_of(corpus)
    train, test = data.split("train")[0], data.split("test")[0]
    assert train.name == test.name
    assert data._store[train].shape != data._store[test].shape


def test_features_are_kept_on_the_disk(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = data_of(corpus, tmp_path / "cache").split("test")
    files = sorted((tmp_path / "cache").iterdir())
    assert len(files) == len(first) == 5
    files[0].write_bytes(b"damaged")
    computed: list[int] = []
    real = Features.of_sound

    def of_sound(features: Features, samples: np.ndarray) -> np.ndarray:
        computed.append(len(samples))
        return real(features, samples)

    monkeypatch.setattr(Features, "of_sound", of_sound)
    again = FeatureStore(FEATURES, tmp_path / "cache")
    assert again.load(first) == []
    assert len(computed) == 1
    without = FeatureStore(FEATURES)
    without.load(first)
    for utterance in first:
        np.testing.assert_array_equal(again[utterance], without[utterance])
    assert len([*(tmp_path / "cache").iterdir()]) == 5


def test_a_restored_normalization_needs_no_training_split(corpus: Path, tmp_path: Path) -> None:
    shutil.copytree(corpus / "test", tmp_path / "test")
    expected = next(data_of(corpus).scored_batches("test"))
    data = SpeechData(
        tmp_path, layout="plain", features=FEATURES, alphabet=Alphabet(),
        cache=None, batch_size=4, held_out=2, probe=3,
    )  # fmt: skip
    restored = data_of(corpus).normalization
    data.restore(Front(data.alphabet, data.features, restored))
    (tmp_path / "train/x.npy").parent.mkdir()
    np.save(tmp_path / "train/x.npy", np.ones((40, 5), np.float32))
    (tmp_path / "train/x.txt").write_text("x")
    torch.testing.assert_close(next(data.scored_batches("test")).frames, expected.frames)
    assert data.normalization == restored != Normalization((0.0,) * 5, (1.0,) * 5)


def test_a_restored_front_takes_the_place_of_the_settings(corpus: Path) -> None:
    """Cepstra, context, alphabet; without it all is as before."""
    expected = next(data_of(corpus).scored_batches("test"))
    own = Features(cepstra=7, context=0, stride=1)
    data = SpeechData(
        corpus, layout="auto", features=own, alphabet=Alphabet(" zyx"),
        cache=None, batch_size=4, held_out=2, probe=3,
    )  # fmt: skip
    before = next(data.scored_batches("test"))
    data.restore(Front(Alphabet(), FEATURES, data_of(corpus).normalization))
    found = next(data.scored_batches("test"))
    assert found.texts == expected.texts
    torch.testing.assert_close(found.frames, expected.frames)
    torch.testing.assert_close(found.targets, expected.targets)
    data.restore(None)
    assert torch.equal(next(data.scored_batches("test")).frames, before.frames)


def test_a_single_utterance_is_held_out(tmp_path: Path) -> None:
    plain_corpus(tmp_path, {"train": 1})
    with pytest.raises(UserError, match="got none, as all of them are held out for validation"):
        data_of(tmp_path).split("train")


def test_a_cache_that_is_a_file(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cache must be a folder, got the file '"):
        data_of(corpus, tmp_path / "file")


def test_feature_files(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
    np.save(tmp_path / "a.npy", frames)
    (tmp_path / "b.mfc").write_bytes(struct.pack(">i", 35) + frames.astype(">f4").tobytes())
    np.save(tmp_path / "wrong.npy", frames.T)
    np.save(tmp_path / "nan.npy", np.full((4, 5), np.nan))
    (tmp_path / "cut.mfc").write_bytes((tmp_path / "b.mfc").read_bytes()[:-4])
    np.save(tmp_path / "object.npy", np.array([{}], dtype=object), allow_pickle=True)
    utterances = {p.name: Utterance(p.name, p, "x") for p in tmp_path.iterdir()}
    store = FeatureStore(FEATURES)
    broken = {u.name: reason for u, reason in store.load([*utterances.values()])}
    np.testing.assert_array_equal(store[utterances["a.npy"]], frames)
    np.testing.assert_array_equal(store[utterances["b.mfc"]], frames)
    assert broken.keys() == {"wrong.npy", "nan.npy", "cut.mfc", "object.npy"}
    assert broken["wrong.npy"] == "features must be [T, 5], got [5, 7]"
    assert broken["nan.npy"] == "features must be finite numbers"
    assert broken["cut.mfc"] == "35 numbers are promised, 34 are there, 5 a frame"
    assert broken["object.npy"].startswith("it is no array")


@pytest.mark.parametrize("content", [b"", b"\0\0\0\0", b"\0\0\0\x01" + bytes(4)])
def test_sphinx_files_that_are_none(content: bytes) -> None:
    with pytest.raises(BrokenFile, match="numbers are promised"):
        sphinx_frames(content, 5)


def test_another_process_reads_the_features_itself(corpus: Path, tmp_path: Path) -> None:
    data = data_of(corpus)
    expected = [names([batch]) for batch in islice(data.training_batches(3), 4)]
    content = pickle.dumps(data)
    assert len(content) < 20_000
    assert len(pickle.dumps(data._store._frames)) > 2 * len(content)
    again = pickle.loads(content)
    assert [names([batch]) for batch in islice(again.training_batches(3), 4)] == expected
    assert again.normalization == data.normalization
