"""The CTC task: losses against slow references, scores, assets, streaming, the command."""

from __future__ import annotations

import math
from itertools import groupby, islice, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import autoquant as aq
from autoquant.errors import UserError
from autoquant.task import SupportsAssets, Task, Transcribes
from autoquant.tasks.speech.alphabet import Alphabet
from autoquant.tasks.speech.front import ASSET, Front
from autoquant.tasks.speech.speech_task import SpeechTask, speech
from autoquant.tasks.speech.streaming import SpeechStream
from tests.tasks.speech.samples import RATE, plain_corpus, sound_of

soundfile = pytest.importorskip("soundfile")
pytest.importorskip("kaldi_native_fbank")
pytest.importorskip("jiwer")
SMALL: dict[str, Any] = {
    **{"fc1": 8, "fc2": 8, "fc3": 12, "hidden": 8, "fc5": 8, "dropout": 0.0},
    **{"cepstra": 6, "context": 2, "stride": 2, "batch_size": 4},
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plain_corpus(tmp_path_factory.mktemp("corpus"), {"train": 16, "valid": 6, "test": 5})


def task_of(corpus: Path, **changes: Any) -> SpeechTask:
    return speech(corpus, **(SMALL | changes))


def model_of(task: SpeechTask) -> nn.Module:
    torch.manual_seed(0)
    return task.build_model().eval()


def test_it_follows_the_protocols(corpus: Path) -> None:
    task = task_of(corpus)
    assert isinstance(task, Task)
    assert isinstance(task, SupportsAssets)
    assert isinstance(task, Transcribes)
    assert (task.metric, task.direction) == ("wer", "minimize")


def test_the_loss_is_that_of_all_alignments(corpus: Path) -> None:
    """On the first frames of two utterances, with short transcripts."""
    from dataclasses import replace

    task = task_of(corpus, alphabet=" a", stride=1)
    model = model_of(task)
    batch = next(task_of(corpus).batches(0))
    short = replace(
        batch,
        frames=batch.frames[:2, :5],
        lengths=torch.tensor([5, 4]),
        targets=torch.tensor([2, 1, 2, 2]),
        target_lengths=torch.tensor([3, 1]),
        texts=("a a", "a"),
    )
    logits, _ = model(short.frames, short.lengths)
    log_probs = logits.log_softmax(-1).tolist()
    expected = []
    for row, length, target in ((0, 5, (2, 1, 2)), (1, 4, (2,))):
        total = 0.0
        for path in product(range(3), repeat=length):
            if tuple(n for n, _ in groupby(path) if n) == target:
                total += math.exp(sum(log_probs[row][t][n] for t, n in enumerate(path)))
        expected.append(-math.log(total) / len(target))
    loss, carry = task.loss(model, short, None)
    assert carry is None
    assert loss.item() == pytest.approx(sum(expected) / 2, rel=1e-5)


def test_the_teacher_is_followed_within_the_utterances(corpus: Path) -> None:
    task = task_of(corpus)
    student, teacher = model_of(task), task.build_model().eval()
    batch = next(task.batches(0))
    alone, _ = task.distillation_loss(student, teacher, batch, None, 0.0)
    assert alone.item() == pytest.approx(task.loss(student, batch, None)[0].item())
    taught, _ = task.distillation_loss(student, teacher, batch, None, 1.0)
    logits, _ = student(batch.frames, batch.lengths)
    others, _ = teacher(batch.frames, batch.lengths)
    total = sum(
        -float((others[row, :n].softmax(-1) * logits[row, :n].log_softmax(-1)).sum())
        for row, n in enumerate(batch.lengths.tolist())
    )
    assert taught.item() == pytest.approx(total / int(batch.target_lengths.sum()), rel=1e-5)
    mixed, _ = task.distillation_loss(student, teacher, batch, None, 0.25)
    assert float(mixed) == pytest.approx(0.25 * float(taught) + 0.75 * float(alone), rel=1e-5)


def test_scores(corpus: Path) -> None:
    task = task_of(corpus)
    model = model_of(task)
    rates = task.error_rates(model, "test")
    assert task.score(model, "test") == rates.wer
    assert task_of(corpus, metric="cer").score(model, "test") == rates.cer
    loss = task_of(corpus, metric="loss").score(model, "valid")
    one_by_one = task_of(corpus, metric="loss", batch_size=1).score(model, "valid")
    assert loss == pytest.approx(one_by_one, rel=1e-5)
    assert len(rates.words) == 5


def test_assets_are_read_back(corpus: Path, tmp_path: Path) -> None:
    task = task_of(corpus)
    stored = task.assets()
    front = Front.decode(stored[ASSET])
    assert front == task.front
    fresh = speech(tmp_path, **SMALL)  # there is no corpus
    fresh.restore_assets(stored)
    assert fresh.front == front
    assert [p.shape for p in fresh.build_model().parameters()] == [
        p.shape for p in task.build_model().parameters()
    ]
    fresh.restore_assets({})
    with pytest.raises(UserError, match="data_dir must have training utterances"):
        _ = fresh.front


DAMAGED = (b"", b"{}", b"[]", b'{"alphabet": 3, "features": {}, "mean": [], "deviation": []}')


@pytest.mark.parametrize("content", DAMAGED)
def test_assets_that_are_damaged(content: bytes, corpus: Path) -> None:
    with pytest.raises(UserError, match=r"(asset speech\.json|alphabet) must"):
        task_of(corpus).restore_assets({ASSET: content})


WRONG: dict[str, tuple[Any, str]] = {
    "data_dir": (5, "data_dir must be the path of a folder, got 5"),
    "beam": (-1, "beam must be a whole number from 0 up, got -1"),
    "alpha": ("x", "alpha must be a finite number, got 'x'"),
    "beta": (math.nan, "beta must be a finite number, got nan"),
    "bidirectional": (5, "bidirectional must be true or false, got 5"),
    "hiden": (3, r"settings of deep_speech must be among .*, got 'hiden' \(near: hidden"),
    "layers": (3, "got 'layers'; on the command line write model=deep_speech, not task.model"),
    "window_ms": ("abc", "step_ms must be above 0 and at most window_ms, got 10.0 of 'abc'"),
    "rate": (1000, "features must be ones that kaldi-native-fbank computes, got cepstra=6, rate="),
    "model": ("whisper", "model must be one of deep_speech, deep_speech_2, got 'whisper'"),
    "metric": ("accuracy", "metric must be one of wer, cer, loss, got 'accuracy'"),
    "batch_size": (0, "batch_size must be a whole number from 1 up, got 0"),
    "held_out": (1.5, "held_out must be a whole number"),
    "language_model": ("none.arpa", "language_model must be a file in the ARPA format"),
    "alphabet": ("abc", "alphabet must have a space"),
    "closed_vocabulary": (True, "closed_vocabulary must come with a language_model, got none"),
}


@pytest.mark.parametrize("name", WRONG)
def test_arguments_that_are_refused(name: str, corpus: Path) -> None:
    value, error = WRONG[name]

    def use() -> None:
        task = speech(**{"data_dir": corpus, **SMALL, name: value})
        task.build_model()
        task.example()

    with pytest.raises(UserError, match=error):
        use()


def test_a_stream_refuses_models_that_look_ahead(corpus: Path) -> None:
    task = task_of(corpus)
    with pytest.raises(UserError, match="stream must not look ahead, got one whose outputs"):
        SpeechStream(model_of(task), task.front)


def test_what_is_no_sound_of_a_stream(corpus: Path) -> None:
    task = task_of(corpus, bidirectional=False)
    stream = SpeechStream(model_of(task), task.front)
    for samples, error in (
        (np.zeros((5, 2), np.float32), "samples must be an array"),
        ([0.0], "samples must be an array"),
        (np.zeros(5, np.int16), "samples must be an array"),
        (np.full(5, np.nan), "samples must be finite numbers"),
    ):
        with pytest.raises(UserError, match=error):
            stream.add(samples)  # type: ignore[arg-type]
    text = stream.finish()
    assert stream.finish() == text
    with pytest.raises(UserError, match="samples must come before finish"):
        stream.add(np.zeros(5, np.float32))


def test_an_example_counts_the_operations_of_a_frame(corpus: Path) -> None:
    """Of the LSTM as well, whose packed sequences leave out padding."""
    task = task_of(corpus)
    found = {layer.name: layer.macs for layer in aq.profile(task).layers}
    assert found["rnn.l0"] == 2 * 4 * 8 * (12 + 8)
    assert found["fc1"] == task.front.features.entries * 8


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("chunk", [97, 1600, 100_000])
def test_a_stream_recognises_what_the_whole_utterance_says(
    chunk: int, stride: int, corpus: Path
) -> None:
    task = task_of(corpus, bidirectional=False, stride=stride)
    model, seen = model_of(task), []

    def watched(frames: torch.Tensor, lengths: torch.Tensor, state: Any) -> Any:
        logits, state = model(frames, lengths, state)
        seen.append((frames, logits))
        return logits, state

    samples = sound_of(["one", "six"]).astype(np.float32)
    stream = SpeechStream(watched, task.front)  # type: ignore[arg-type]
    seen.clear()
    for begin in range(0, len(samples), chunk):
        partial = stream.add(samples[begin : begin + chunk])
        assert partial == stream.text
    text = stream.finish()
    frames = task.front.frames(task.front.features.of_sound(samples))
    logits, _ = model(frames, torch.tensor([frames.shape[1]]))
    assert torch.equal(torch.cat([inputs for inputs, _ in seen], 1), frames)
    torch.testing.assert_close(torch.cat([outputs for _, outputs in seen], 1), logits)
    assert [text] == task.transcripts(model, frames, torch.tensor([frames.shape[1]]))
    assert text


SETTINGS = aq.Search(
    budget="0.4x",
    trials=2,
    device="cpu",
    references=(8,),
    baseline=aq.Training(steps=8, lr=3e-3),
    qat=aq.Training(steps=3),
    final=aq.Training(steps=4, distill=0.5),
    rounds=aq.Rounds(size=2, orders=2, finalists=1),
    sensitivity=1,
)


SECOND: dict[str, Any] = {
    **{"channels": 6, "kernel": 3, "hidden": 6, "layers": 2, "dropout": 0.0},
    **{"cepstra": 6, "context": 0, "batch_size": 4},
}
MODELS: dict[str, dict[str, Any]] = {
    "deep_speech": SMALL,
    "deep_speech, forwards": SMALL | {"bidirectional": False},
    "deep_speech_2": SECOND | {"model": "deep_speech_2"},
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * ("," in name)) for name in MODELS]
)
def test_from_sound_files_to_words(name: str, corpus: Path, tmp_path: Path) -> None:
    options = {"metric": "loss", **MODELS[name]}
    task = speech(corpus, **options)
    found = aq.search(task, SETTINGS, study=tmp_path / "study", progress=False)
    assert found.best is not None
    assert found.best.size_bytes <= found.budget_bytes
    applied = aq.apply(tmp_path / "study", task, progress=False)
    fresh = speech(tmp_path, **options)  # without a corpus
    path = next((corpus / "test").rglob("*.wav"))
    said = aq.transcribe(applied.artifact, fresh, path, device="cpu")
    packed = aq.load(applied.artifact, task.build_model())
    assert said == task.transcribe(packed, path)
    assert aq.evaluate(applied.artifact, task, device="cpu") == pytest.approx(applied.test)
    stereo = tmp_path / "stereo.wav"
    samples, _ = soundfile.read(path)
    soundfile.write(stereo, np.stack([samples, samples], 1), RATE, subtype="FLOAT")
    again = aq.transcribe(applied.artifact, fresh, stereo, device="cpu")
    assert again == (said.text, "2 channels to one")
    if "forwards" in name:
        stream = SpeechStream(packed, fresh.front)
        for begin in range(0, len(samples), 1000):
            stream.add(samples[begin : begin + 1000].astype(np.float32))
        assert stream.finish() == said.text


def test_sounds_that_cannot_be_recognised(corpus: Path, tmp_path: Path) -> None:
    task = task_of(corpus)
    (tmp_path / "empty.wav").write_bytes(b"")
    with pytest.raises(UserError, match=r"audio must be a file with sound, got '.*': the file is"):
        task.transcribe(model_of(task), tmp_path / "empty.wav")
    with pytest.raises(UserError, match=r"audio must be an existing file, got 'none\.wav'"):
        aq.transcribe(tmp_path / "model.safetensors", task, "none.wav")


def test_a_task_without_speech() -> None:
    from autoquant.tasks.digits import digits

    with pytest.raises(UserError, match="the task must recognise speech, got digits"):
        aq.transcribe("model.safetensors", digits(), "a.wav")


def test_files_that_are_left_out_are_noted(corpus: Path) -> None:
    task = task_of(corpus)
    assert task.notes() == []
    assert [text for text, _ in task.checks(nn.Identity())] == [
        f"{split} must have utterances" for split in ("train", "valid", "test")
    ]
    assert len([*islice(task.batches(0), task.steps_per_epoch())]) == 4
    assert Alphabet(task.front.alphabet.characters) == task.front.alphabet
