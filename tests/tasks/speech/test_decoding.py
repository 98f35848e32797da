"""Decoding against slow references: every alignment is looked at."""

from __future__ import annotations

import gzip
import math
from collections import defaultdict
from itertools import groupby, product
from pathlib import Path

import numpy as np
import pytest
import torch

from autoquant.errors import UserError
from autoquant.tasks.speech.alphabet import Alphabet
from autoquant.tasks.speech.decoding import START, BeamSearch, LogProbs, beam_search, greedy
from autoquant.tasks.speech.n_gram import MISSING, NGramModel

ALPHABET = Alphabet(" ab")
ARPA = """
This file is in the ARPA format:
\\1-grams:
p_1     wd_1 bo_wt_1
\\end\\

\\data\\
ngram 1=4
ngram 2=2

\\1-grams:
-1.0 <s> -0.3
-0.5 A -0.2
-1.5 ab
-0.7 B

\\2-grams:
-0.1 <s> ab
-0.4 A B

\\end\\
"""


def log_probs_of(frames: int, seed: int) -> LogProbs:
    logits = 2 * np.random.default_rng(seed).standard_normal((frames, len(ALPHABET)))
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def collapsed(path: tuple[int, ...]) -> str:
    return "".join(ALPHABET.characters[n - 1] for n, _ in groupby(path) if n)


def best_of_all(rows: LogProbs, search: BeamSearch) -> str:
    """The transcript whose alignments have the largest sum, with the scores of its words."""
    sums: dict[str, float] = defaultdict(float)
    for path in product(range(len(ALPHABET)), repeat=len(rows)):
        sums[collapsed(path)] += math.exp(sum(row[n] for row, n in zip(rows, path, strict=True)))
    scores: dict[str, float] = {}
    for text, total in sums.items():
        words, score = text.split(), math.log(total)
        spaced = " ".join(words) + " " * (bool(words) and text.endswith(" "))
        if search.closed and (text != spaced or {*words} - {"a", "ab", "b"}):
            continue
        for position, word in enumerate(words if search.model else ()):
            history = (START, *words[:position])
            score += search.alpha * search.model.log_prob(word, history) + search.beta  # type: ignore[union-attr]
        scores[text] = score
    return " ".join(max(scores, key=lambda text: scores[text]).split())


@pytest.fixture
def model(tmp_path: Path) -> NGramModel:
    path = tmp_path / "words.arpa"
    path.write_text(ARPA)
    return NGramModel.read(path)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("words", [False, True], ids=["characters", "words"])
def test_a_wide_beam_finds_the_best_transcript(words: bool, seed: int, model: NGramModel) -> None:
    search = BeamSearch(
        ALPHABET, width=2000, model=model if words else None, beta=0.3, min_log_prob=-99
    )
    rows = log_probs_of(5, seed)
    assert search.best(rows) == best_of_all(rows, search)


@pytest.mark.parametrize("seed", range(8))
def test_a_closed_vocabulary(seed: int, model: NGramModel) -> None:
    search = BeamSearch(ALPHABET, width=2000, model=model, beta=0.3, min_log_prob=-99, closed=True)
    rows = log_probs_of(5, seed)
    found = search.best(rows)
    assert {*found.split()} <= {"a", "ab", "b"}
    assert found == best_of_all(rows, search)


def test_a_word_that_is_not_finished_is_left_out() -> None:
    """A beam of one prefix that ends within a word."""
    words = NGramModel({("aab",): -1.0}, {}, 1)
    search = BeamSearch(ALPHABET, width=1, model=words, closed=True)
    rows = np.full((3, len(ALPHABET)), -20.0)
    rows[[0, 1, 2], [2, 0, 2]] = 0.0  # a, blank, a
    assert search.best(rows) == ""


def test_a_closed_vocabulary_must_have_words_that_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / "words.arpa"
    path.write_text("\\data\\\n\\1-grams:\n-1 <s>\n-1 xyz\n\\end\\\n")
    with pytest.raises(UserError, match="must have words of the alphabet's characters, got none"):
        beam_search(ALPHABET, 0, path, 1.0, 1.0, closed=True)
    assert beam_search(ALPHABET, 0, None, 1.0, 1.0, closed=False) is None
    found = beam_search(ALPHABET, 3, None, 1.0, 1.0, closed=False)
    assert found is not None
    assert found.width == 3


def test_greedy_takes_the_best_path_of_each_utterance() -> None:
    numbers = [[2, 2, 0, 2, 1, 3, 3], [3, 0, 0, 2, 2, 2, 2]]
    logits = torch.nn.functional.one_hot(torch.tensor(numbers), len(ALPHABET)).float()
    assert greedy(logits, torch.tensor([7, 3]), ALPHABET) == ["aa b", "b"]


def test_a_beam_leaves_out_what_is_padded() -> None:
    logits = torch.from_numpy(np.stack([log_probs_of(6, 0), log_probs_of(6, 1)]))
    search = BeamSearch(ALPHABET)
    found = search.decode(logits, torch.tensor([6, 3]))
    assert found == [search.best(logits[0].numpy()), search.best(logits[1, :3].numpy())]


def test_probabilities_back_off(model: NGramModel) -> None:
    ln = math.log(10)
    assert model.order == 2
    assert model.log_prob("ab", ("<s>",)) == pytest.approx(-0.1 * ln)
    assert model.log_prob("b", ("a",)) == pytest.approx(-0.4 * ln)
    assert model.log_prob("b", ("x", "a")) == pytest.approx(-0.4 * ln)
    assert model.log_prob("a", ("a",)) == pytest.approx((-0.2 - 0.5) * ln)
    assert model.log_prob("a", ("b",)) == pytest.approx(-0.5 * ln)
    assert model.log_prob("zebra", ()) == MISSING


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no model",
        "\\1-grams:\n-1.0\n",
        "\\x-grams:\n",
        ARPA.replace("\n-0.4 A B", ""),
        ARPA.removesuffix("\\end\\\n"),
        ARPA.replace("-0.7 B", "nan B"),
        "\\data\\\n\\end\\\n",
    ],
    ids=["empty", "text", "no word", "no order", "too few", "cut", "nan", "no words"],
)
def test_files_that_are_no_models(text: str, tmp_path: Path) -> None:
    path = tmp_path / "words.arpa"
    path.write_text(text)
    with pytest.raises(UserError, match="language_model must be a file in the ARPA format, got '"):
        NGramModel.read(path)
    (tmp_path / "cut.gz").write_bytes(gzip.compress(ARPA.encode())[:60])
    with pytest.raises(UserError, match="language_model must be a file in the ARPA format, got '"):
        NGramModel.read(tmp_path / "cut.gz")
    with pytest.raises(UserError, match="No such file"):
        NGramModel.read(tmp_path / "none.arpa")
