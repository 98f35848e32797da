"""Interrupted runs against uninterrupted ones."""

from __future__ import annotations

import zipfile

import pytest
import torch
from torch import nn

from autoquant.settings import Training
from autoquant.training.scoring import score
from tests.toys import language_task
from tests.training.runs import (
    MODELS,
    QUICK,
    Stopped,
    Toy,
    float_model,
    quantized_model,
    quietly,
    same_weights,
)


@MODELS
@pytest.mark.parametrize("stop", [1, 2, 3], ids=lambda n: f"at-score{n}")
def test_a_resumed_run_equals_an_uninterrupted_one(task, build, stop, tmp_path, monkeypatch):
    """Bit for bit, over the end of an epoch, from a checkpoint of the step of the stop."""
    monkeypatch.setattr("autoquant.training.checkpoint.CHECKPOINT_SECONDS", 0)
    settings = Training(steps=28, lr=0.01, scores=3)  # scored after 7, 14 and 21 steps
    whole = build(task)
    expected = quietly(whole, task, settings, seed=5)

    scores = iter(range(1, 4))

    def interrupt(step: int, value: float) -> None:
        if next(scores) == stop:
            raise Stopped

    checkpoint = tmp_path / "checkpoint"
    with pytest.raises(Stopped):
        quietly(
            build(task),
            task,
            settings,
            seed=5,
            on_score=interrupt,
            checkpoint=checkpoint,
        )
    assert torch.load(checkpoint, weights_only=True)["run"]["steps"] == 7 * stop

    resumed = build(task, seed=9)  # other weights: all of them come from the checkpoint
    torch.rand(7)  # and another random state
    run = quietly(resumed, task, settings, seed=5, checkpoint=checkpoint)
    assert same_weights(resumed, whole)
    assert run.scores == expected.scores
    assert [step for step, _ in run.scores] == [7, 14, 21]
    assert run.steps == expected.steps == 28
    assert score(resumed, task, "valid") == score(whole, task, "valid")


def test_a_finished_run_is_not_run_again(task, tmp_path):
    checkpoint = tmp_path / "checkpoint"
    settings = Training(steps=6, scores=2)
    model = float_model(task)
    first = quietly(model, task, settings, checkpoint=checkpoint)
    again = float_model(task, seed=1)
    called = []
    second = quietly(
        again,
        task,
        settings,
        checkpoint=checkpoint,
        on_score=lambda *args: called.append(args),
    )
    assert same_weights(again, model)
    assert (second.steps, second.scores) == (first.steps, first.scores)
    assert not called


@pytest.mark.parametrize(
    ("settings", "seed"),
    [(Training(steps=12, lr=0.02), 0), (Training(steps=13, lr=0.01), 0), (QUICK, 1)],
    ids=["lr", "steps", "seed"],
)
def test_a_checkpoint_of_another_run_is_ignored(task, settings, seed, tmp_path):
    checkpoint = tmp_path / "checkpoint"
    quietly(float_model(task), task, QUICK, checkpoint=checkpoint)
    expected, ours = float_model(task), float_model(task)
    quietly(expected, task, settings, seed=seed)
    run = quietly(ours, task, settings, seed=seed, checkpoint=checkpoint)
    assert run.steps == settings.steps
    assert same_weights(ours, expected)
    saved = torch.load(checkpoint, weights_only=True)  # it now is of this run
    assert saved["run"]["steps"] == settings.steps


def without_content(path, other):
    path.write_bytes(b"")


def cut_off(path, other):
    path.write_bytes(path.read_bytes()[:-100])


def a_bit_flipped(path, other):
    """A bit of an entry: some of those between the entries of an archive mean nothing."""
    with zipfile.ZipFile(path) as archive:
        entry = archive.read(max(archive.infolist(), key=lambda each: each.file_size))
    content = bytearray(path.read_bytes())
    content[content.index(entry) + len(entry) // 2] ^= 1
    path.write_bytes(content)


def of_something_else(path, other):
    torch.save({"weights": torch.zeros(3)}, path)


def of_another_model(path, other):
    other.rename(path)


@pytest.mark.parametrize(
    "damage",
    [without_content, cut_off, a_bit_flipped, of_something_else, of_another_model],
    ids=lambda each: each.__name__,
)
def test_a_checkpoint_that_is_not_of_the_run_is_set_aside(damage, task, tmp_path, capsys):
    """Nothing of it is left in the model, the optimizer or the random sources."""
    checkpoint, other = tmp_path / "run.checkpoint", tmp_path / "other"
    quietly(float_model(task), task, QUICK, checkpoint=checkpoint)
    larger = language_task(hidden=16)  # it has some tensors of the same shape
    quietly(float_model(larger), task, QUICK, checkpoint=other)
    damage(checkpoint, other)
    expected, model = float_model(task, seed=2), float_model(task, seed=2)
    quietly(expected, task, QUICK)
    run = quietly(model, task, QUICK, checkpoint=checkpoint)
    assert run.steps == QUICK.steps
    assert same_weights(model, expected)
    line = f"'{checkpoint}' is not a checkpoint of this training, which starts again; it is kept"
    assert capsys.readouterr().err == f"autoquant: {line} as 'run.checkpoint.damaged'\n"
    again = float_model(task)
    quietly(again, task, QUICK, checkpoint=checkpoint)  # the new file is of this run
    assert same_weights(again, expected)
    assert not capsys.readouterr().err


def test_no_checkpoint_is_written_before_it_is_due(tmp_path):
    checkpoint = tmp_path / "checkpoint"
    seen: list[bool] = []
    toy = Toy(lambda model, step: seen.append(checkpoint.exists()) or model.weight.sum())
    quietly(nn.Linear(2, 2), toy, QUICK, checkpoint=checkpoint)
    assert seen == [False] * 12
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


@pytest.mark.gpu
def test_a_run_resumes_on_a_gpu(task, tmp_path, monkeypatch):
    """The carry and the random state of dropout come back on the device."""
    monkeypatch.setattr("autoquant.training.checkpoint.CHECKPOINT_SECONDS", 0)
    settings = Training(steps=8, lr=0.01, scores=1)
    whole = float_model(task).cuda()
    expected = quietly(whole, task, settings, seed=5)

    def interrupt(step: int, value: float) -> None:
        raise Stopped

    checkpoint = tmp_path / "checkpoint"
    with pytest.raises(Stopped):
        quietly(
            float_model(task).cuda(),
            task,
            settings,
            seed=5,
            on_score=interrupt,
            checkpoint=checkpoint,
        )
    resumed = float_model(task, seed=9).cuda()
    run = quietly(resumed, task, settings, seed=5, checkpoint=checkpoint)
    assert run.scores == pytest.approx(expected.scores, rel=1e-4)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=1e-3, atol=1e-4)


def test_the_best_weights_survive_an_interruption(task, tmp_path):
    settings = Training(steps=30, lr=0.5, scores=5, keep="best", clip_norm=100)
    whole = quantized_model(task)
    quietly(whole, task, settings)

    def stop(step: int, value: float) -> None:
        if step >= 20:
            raise Stopped

    broken, checkpoint = quantized_model(task), tmp_path / "run"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("autoquant.training.checkpoint.CHECKPOINT_SECONDS", 0.0)
        with pytest.raises(Stopped):
            quietly(broken, task, settings, checkpoint=checkpoint, on_score=stop)
    again = quantized_model(task)
    quietly(again, task, settings, checkpoint=checkpoint)
    assert same_weights(again, whole)
