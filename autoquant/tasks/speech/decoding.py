"""Decoding: characters from the logits of CTC, greedily or by a search over prefixes."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from autoquant.errors import UserError, shown
from autoquant.tasks.argument_checks import check_flags, check_whole
from autoquant.tasks.speech.alphabet import BLANK, Alphabet
from autoquant.tasks.speech.n_gram import NGramModel

LogProbs = npt.NDArray[np.float64]
"""Logarithms of the probabilities of the characters in each frame, [T, C]."""
START = "<s>"


def greedy(logits: Tensor, lengths: Tensor, alphabet: Alphabet) -> list[str]:
    """The most likely character of each frame, repetitions and blanks left out.

    Args:
        logits: [B, T, C].
        lengths: frames of each utterance, [B].
        alphabet: of C - 1 characters.
    """
    best = logits.argmax(-1).tolist()
    return [
        alphabet.decode(number for number, _ in groupby(row[:length]))
        for row, length in zip(best, lengths.tolist(), strict=True)
    ]


@dataclass(frozen=True)
class BeamSearch:
    """Prefix beam search (Hannun et al. 2014, "First-pass large vocabulary ...", algorithm 1).

    Attributes:
        alphabet: of the characters.
        width: prefixes that are kept after each frame.
        model: of the words; None: characters only.
        alpha: weight of the logarithm of a word's probability.
        beta: added for each word.
        min_log_prob: characters that are less likely in a frame are not looked at.
        closed: whether all words must be words of the model.
    """

    alphabet: Alphabet
    width: int = 32
    model: NGramModel | None = None
    alpha: float = 0.5
    beta: float = 1.5
    min_log_prob: float = -9.0
    closed: bool = False

    def decode(self, logits: Tensor, lengths: Tensor) -> list[str]:
        """The best transcripts of some utterances.

        Args:
            logits: [B, T, C].
            lengths: frames of each utterance, [B].
        """
        log_probs = torch.log_softmax(logits.double(), -1).cpu().numpy()
        pairs = zip(log_probs, lengths.tolist(), strict=True)
        return [self.best(rows[:length]) for rows, length in pairs]

    def best(self, log_probs: LogProbs) -> str:
        """The best transcript of one utterance.

        Args:
            log_probs: [T, C].
        """
        # Of each prefix the probabilities that it ends with a blank, and with its last character.
        beams: dict[str, tuple[float, float]] = {"": (0.0, -math.inf)}
        scores: dict[str, float] = {"": 0.0}
        for row in log_probs:
            grown = self._grown(beams, row)
            for prefix in grown:
                if prefix not in scores:
                    scores[prefix] = scores[prefix[:-1]] + self._word_score(prefix)
            kept = sorted(grown, key=lambda p: -(_sum(*grown[p]) + scores[p]))[: self.width]
            beams = {prefix: grown[prefix] for prefix in kept}
            scores = {prefix: scores[prefix] for prefix in kept}
        ended = {p: _sum(*beams[p]) + scores[p] + self._last_word_score(p) for p in beams}
        whole = {p: score for p, score in ended.items() if self._is_whole(p)}
        best = max(whole or ended, key=lambda prefix: ended[prefix])
        return " ".join(best.split() if whole else best.split()[:-1])

    def _grown(
        self, beams: dict[str, tuple[float, float]], row: npt.NDArray[np.float64]
    ) -> dict[str, tuple[float, float]]:
        """The prefixes after one more frame.

        Args:
            beams: prefixes before it.
            row: log probabilities of the characters, [C].
        """
        blanks: dict[str, float] = defaultdict(lambda: -math.inf)
        others: dict[str, float] = defaultdict(lambda: -math.inf)
        likely = [n for n in np.flatnonzero(row > self.min_log_prob).tolist() if n != BLANK]
        for prefix, (blank, other) in beams.items():
            both = _sum(blank, other)
            blanks[prefix] = _sum(blanks[prefix], both + row[BLANK])
            for number in likely:
                character = self.alphabet.characters[number - 1]
                longer, log_prob = prefix + character, both
                if prefix.endswith(character):  # the same again, or another one behind a blank
                    others[prefix] = _sum(others[prefix], other + row[number])
                    log_prob = blank
                if self._may_begin(longer):
                    others[longer] = _sum(others[longer], log_prob + row[number])
        return {p: (blanks[p], others[p]) for p in {**blanks, **others}}

    @cached_property
    def _beginnings(self) -> frozenset[str]:
        """All beginnings of the model's words; of whole words with a space behind them."""
        assert self.model is not None
        words = [word + " " for (word, *rest) in self.model.log_probs if not rest]
        return frozenset(word[:end] for word in words for end in range(len(word) + 1))

    def _may_begin(self, prefix: str) -> bool:
        """Whether a transcript with words of the model may begin like this.

        Args:
            prefix: the part before its last character may.
        """
        if not self.closed or self.model is None:
            return True
        last = prefix[prefix.rfind(" ", 0, -1) + 1 :]  # with the space behind it
        return last.lower() in self._beginnings

    def _is_whole(self, prefix: str) -> bool:
        """Whether the last word of a transcript is a word of the model, where it must be one."""
        last = prefix.rpartition(" ")[2].lower()
        return not self.closed or self.model is None or not last or last + " " in self._beginnings

    def _word_score(self, prefix: str) -> float:
        """What the model adds when a prefix has just got a space behind a word.

        Args:
            prefix: with its last character.
        """
        if self.model is None or not prefix.endswith(" ") or not prefix[:-1].strip():
            return 0.0
        return 0.0 if prefix[-2:] == "  " else self._score(prefix.split())

    def _last_word_score(self, prefix: str) -> float:
        """What the model adds for the last word of an utterance.

        Args:
            prefix: the whole utterance.
        """
        if self.model is None or prefix.endswith(" ") or not prefix:
            return 0.0
        return self._score(prefix.split())

    def _score(self, words: list[str]) -> float:
        """alpha * log P(last word | words before it) + beta."""
        assert self.model is not None
        lowered = [word.lower() for word in words]
        return self.alpha * self.model.log_prob(lowered[-1], (START, *lowered[:-1])) + self.beta


def beam_search(
    alphabet: Alphabet,
    beam: int,
    language_model: Path | None,
    alpha: object,
    beta: object,
    *,
    closed: bool,
) -> BeamSearch | None:
    """The beam search of a task's settings; None: transcripts are found greedily.

    Args:
        alphabet: of the characters.
        beam: prefixes that are kept; 0: none, or with a language model BeamSearch.width.
        language_model: ARPA file.
        alpha: weight of a word's probability.
        beta: added for each word.
        closed: whether only words of the language model are written.

    Raises:
        UserError: a setting is not as described.
    """
    check_whole(0, beam=beam)
    weights = {"alpha": alpha, "beta": beta}
    for name, value in weights.items():
        if type(value) not in (int, float) or not math.isfinite(cast(float, value)):
            raise UserError(f"{name} must be a finite number, got {shown(value)}")
    check_flags(closed_vocabulary=closed)
    if closed and language_model is None:
        raise UserError("closed_vocabulary must come with a language_model, got none")
    if not beam and language_model is None:
        return None
    model = None if language_model is None else NGramModel.read(language_model)
    letters = {*alphabet.characters.lower()}
    if closed and model and not any({*word} <= letters for (word, *rest) in model.log_probs):
        requirement = "language_model must have words of the alphabet's characters"
        raise UserError(f"{requirement}, got none in '{language_model}'")
    numbers = {name: cast(float, value) for name, value in weights.items()}
    return BeamSearch(alphabet, beam or BeamSearch.width, model, **numbers, closed=closed)


def _sum(one: float, other: float) -> float:
    """The logarithm of the sum of two probabilities."""
    if one == -math.inf:
        return other
    if other == -math.inf:
        return one
    high, low = (one, other) if one > other else (other, one)
    return high + math.log1p(math.exp(low - high))
