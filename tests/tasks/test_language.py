"""Batching and scoring against a reader that takes one token at a time."""

import math
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from autoquant.errors import UserError
from autoquant.task import Task
from autoquant.tasks.corpus import Corpus
from autoquant.tasks.language import IGNORED, LanguageTask, stdlib, treebank
from autoquant.tasks.language_model import LanguageModel

WORDS = 12
SMALL = {"embedding": 5, "hidden": 6, "dropout": 0.0}


def corpus(train: int = 130, valid: int = 110) -> Corpus:
    """Random words in validation and test; in training the word of position i is i itself."""
    rng = np.random.default_rng(0)
    streams = {split: rng.integers(0, WORDS, valid).astype(np.int32) for split in ("valid", "test")}
    words = max(WORDS, train)
    return Corpus("toy", tuple(map(str, range(words))), streams | {"train": np.arange(train)})


def task(batch_size: int = 4, length: int = 9, **options) -> LanguageTask:
    return LanguageTask(corpus(), batch_size, length, **({"probe_tokens": 40} | SMALL | options))


def model_of(task: LanguageTask, seed: int = 0) -> LanguageModel:
    torch.manual_seed(seed)
    return task.build_model().double().eval()


def epoch(task: LanguageTask, number: int, seed: int = 0) -> list:
    steps = task.steps_per_epoch()
    return list(islice(task.batches(seed), number * steps, (number + 1) * steps))


# --- batches -------------------------------------------------------------------------------------


@given(
    tokens=st.integers(100, 170),
    batch_size=st.integers(1, 200),
    length=st.integers(1, 190),
    number=st.integers(0, 2),
)
def test_every_token_but_the_first_is_a_target_once(tokens, batch_size, length, number):
    task = LanguageTask(corpus(tokens), batch_size, length)
    windows = epoch(task, number, seed=3)
    assert [window.fresh for window in windows] == [True] + [False] * (len(windows) - 1)
    assert all(len(window.inputs) == length for window in windows[:-1])
    # the columns, one after another, are the stream from a random place on
    inputs = torch.cat([window.inputs for window in windows]).t().flatten()
    targets = torch.cat([window.targets for window in windows]).t().flatten()
    known = targets != IGNORED
    first = int(inputs[0])
    expected = (first + 1 + torch.arange(tokens - 1)) % tokens
    assert torch.equal(targets[known], expected)
    assert torch.equal(inputs[known], (expected - 1) % tokens)
    assert bool(known[: tokens - 1].all())  # padding is at the end, and less than a step
    assert inputs.numel() - (tokens - 1) < windows[0].inputs.shape[1]


@given(start=st.integers(0, 40), seed=st.integers(0, 5))
def test_starting_later_equals_skipping(start, seed):
    toy = task()
    skipped = islice(toy.batches(seed), start, start + 8)
    for ours, expected in zip(islice(toy.batches(seed, start), 8), skipped, strict=True):
        assert torch.equal(ours.inputs, expected.inputs)
        assert torch.equal(ours.targets, expected.targets)
        assert ours.fresh == expected.fresh


@pytest.mark.parametrize("number", [0, 1])
def test_the_seed_moves_the_first_batch_of_each_epoch(number):
    starts = [int(epoch(task(), number, seed)[0].inputs[0, 0]) for seed in range(10)]
    assert len({*starts}) > 7  # of 130 words
    assert max(starts) - min(starts) > 40  # far apart, not by a part of a window
    assert starts == [int(epoch(task(), number, seed)[0].inputs[0, 0]) for seed in range(10)]


@pytest.mark.parametrize(
    ("batch_size", "length", "steps"), [(1, 1, 129), (4, 9, 4), (4, 33, 1), (500, 10, 1)]
)
def test_steps_per_epoch(batch_size, length, steps):
    toy = task(batch_size, length)
    assert toy.steps_per_epoch() == steps
    fresh = [window.fresh for window in islice(toy.batches(0), 3 * steps)]
    assert [i for i, each in enumerate(fresh) if each] == [0, steps, 2 * steps]


# --- loss ----------------------------------------------------------------------------------------


def test_the_loss_is_the_mean_over_real_targets():
    toy = task(batch_size=7, length=1000)  # the last column is padded
    model, window = model_of(toy), next(toy.batches(0))
    padded = window.targets == IGNORED
    assert bool(padded.any())
    loss, _ = toy.loss(model, window, None)
    likelihood = model(window.inputs)[0].log_softmax(-1)
    picked = likelihood.gather(-1, window.targets.clamp_min(0)[..., None]).squeeze(-1)
    assert float(loss.detach()) == pytest.approx(float(-picked[~padded].detach().mean()), rel=1e-12)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_state_is_carried_and_detached(cell):
    toy = task(length=5, cell=cell)
    model = model_of(toy)
    first, second = islice(toy.batches(0), 2)
    _, carry = toy.loss(model, first, None)
    assert not any(part.requires_grad for part in (carry if cell == "lstm" else (carry,)))
    carried, end = toy.loss(model, second, carry)
    together = torch.cat([first.inputs, second.inputs])
    logits, state = model(together)
    expected = F.cross_entropy(logits[5:].flatten(0, 1), second.targets.flatten())
    torch.testing.assert_close(carried, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(end, state, rtol=1e-12, atol=1e-14)
    forgotten, _ = toy.loss(model, second, None)
    assert abs(float(forgotten.detach()) - float(carried.detach())) > 1e-6


def test_a_fresh_window_forgets():
    toy = task()
    model, window = model_of(toy), next(toy.batches(0))
    assert window.fresh
    _, carry = toy.loss(model, window, None)
    assert torch.equal(toy.loss(model, window, carry)[0], toy.loss(model, window, None)[0])


# --- score ---------------------------------------------------------------------------------------


@torch.no_grad()
def perplexity(model: LanguageModel, stream: torch.Tensor, columns: int) -> float:
    """One token at a time; each column starts without a state."""
    total, steps = 0.0, math.ceil((len(stream) - 1) / columns)
    state = None
    for position in range(len(stream) - 1):
        state = None if position % steps == 0 else state
        logits, state = model(stream[position].view(1, 1), state)
        total -= float(logits[0, 0].log_softmax(-1)[stream[position + 1]])
    return math.exp(total / (len(stream) - 1))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("batch_size", [1, 4, 7, 200])
@pytest.mark.parametrize("split", ["valid", "test", "probe"])
def test_perplexity_token_by_token(cell, batch_size, split):
    toy = task(batch_size, layers=2, cell=cell)
    model = model_of(toy)
    stream = torch.from_numpy(toy.corpus.streams["valid" if split == "probe" else split]).long()
    stream = stream[:40] if split == "probe" else stream
    with torch.no_grad():
        ours = toy.score(model, split)
    expected = perplexity(model, stream, min(batch_size, len(stream) - 1))
    assert ours == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("length", [1, 8, 1000])
@torch.no_grad()
def test_the_window_s_length_does_not_change_the_score(length):
    model = model_of(task())
    expected = task(length=13).score(model, "valid")
    assert task(length=length).score(model, "valid") == pytest.approx(expected, rel=1e-12)


@torch.no_grad()
def test_a_model_that_knows_nothing_has_the_vocabulary_s_size():
    toy = task()
    model = model_of(toy)
    model.decoder.weight.zero_()
    assert toy.score(model, "valid") == pytest.approx(len(toy.corpus.vocabulary), rel=1e-12)


@torch.no_grad()
def test_a_hopeless_model_scores_infinity_instead_of_overflowing():
    toy = task()
    model = model_of(toy)
    model.decoder.bias[WORDS:] = 1e5
    assert toy.score(model, "valid") == math.inf


# --- the model and the task ----------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_model_s_shapes(cell):
    model = LanguageModel(WORDS, embedding=5, hidden=6, layers=3, cell=cell)
    logits, state = model(torch.zeros(7, 2, dtype=torch.long))
    assert logits.shape == (7, 2, WORDS)
    assert (state[0] if cell == "lstm" else state).shape == (3, 2, 6)
    assert bool((model.decoder.bias == 0).all())
    assert float(model.embedding.weight.detach().abs().max()) <= 0.1


def test_dropout_acts_in_training_only():
    model = LanguageModel(WORDS, embedding=5, hidden=6, dropout=0.5)
    tokens = torch.zeros(7, 2, dtype=torch.long)
    assert not torch.equal(model(tokens)[0], model(tokens)[0])
    model.eval()
    assert torch.equal(model(tokens)[0], model(tokens)[0])


def test_the_model_s_weights_follow_the_seed():
    toy = task()
    one, same, other = (model_of(toy, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["decoder.weight"], other["decoder.weight"])
    assert one["decoder.weight"].shape == (130, 6)


def test_is_a_task():
    toy = task()
    assert isinstance(toy, Task)
    assert (toy.name, toy.metric, toy.direction) == ("toy", "perplexity", "minimize")
    example = toy.example()
    assert example.units == 4 * 9
    assert example.unit == "token"
    assert model_of(toy)(*example.inputs)[0].shape == (9, 4, 130)


def test_refuses_an_unknown_cell():
    with pytest.raises(UserError, match="cell must be one of lstm, gru, got 'rnn'"):
        LanguageModel(WORDS, cell="rnn")


@pytest.mark.parametrize("bad", [{"batch_size": 0}, {"length": 0}, {"length": -3}], ids=str)
def test_refuses_empty_windows(bad):
    with pytest.raises(UserError, match="batch_size and length must be at least 1, got"):
        task(**bad)


@pytest.mark.parametrize("tokens", [-1, 0, 1])
@torch.no_grad()
def test_refuses_a_probe_that_predicts_nothing(tokens):
    with pytest.raises(UserError, match=f"probe_tokens must be at least 2, got {tokens}"):
        task(probe_tokens=tokens)
    assert math.isfinite(task(probe_tokens=2).score(model_of(task()), "probe"))


def test_a_treebank_task(tmp_path):
    for split in ("train", "valid", "test"):
        (tmp_path / f"mine.{split}.txt").write_text("a b c d\n" * 30, encoding="utf-8")
    toy = treebank(str(tmp_path), "mine", batch_size=3, length=8, sampled=0, **SMALL)
    assert toy.name == "mine"
    assert toy.corpus.vocabulary == ("<eos>", "a", "b", "c", "d")
    assert next(toy.batches(0)).inputs.shape == (8, 3)


@torch.no_grad()
def test_the_embedded_task():
    toy = stdlib(tokens=5_000, vocabulary=200, batch_size=5, length=8, **SMALL)
    assert toy.name == "stdlib"
    assert len(toy.corpus.vocabulary) == 200
    assert math.isfinite(toy.score(model_of(toy), "valid"))
